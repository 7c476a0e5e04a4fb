//! A dispatcher against endpoints that fail in every way there is, crashes, and a log that fails: with virtual time,
//! from a seed. What must hold is read from the calls that the endpoint saw and from the log alone.
//!
//! `FPAAS_SEEDS=10000` runs so many, `FPAAS_SEED=17` that one.

#[cfg(test)]
mod endpoint;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod random;
#[cfg(test)]
mod world;

#[cfg(test)]
mod tests {
    use crate::world;

    /// A short run's.
    const SEEDS: u64 = 500;

    fn variable(name: &str) -> Option<u64> {
        std::env::var(name).ok().map(|text| text.parse().unwrap())
    }

    #[test]
    fn whatever_endpoints_do_every_event_ends_once_and_keys_keep_their_order() {
        let seeds = match variable("FPAAS_SEED") {
            Some(seed) => seed..seed + 1,
            None => 0..variable("FPAAS_SEEDS").unwrap_or(SEEDS),
        };
        let mut all = world::Tally::default();
        for seed in seeds.clone() {
            all.add(&world::run(seed));
            if seeds.end >= 1000 && seed % 500 == 499 {
                println!("{} of {} seeds: {all:?}", seed + 1, seeds.end);
            }
        }
        println!("{} seeds: {all:?}", seeds.end - seeds.start);
        // Every kind of thing happened: otherwise nothing is shown.
        if seeds.end - seeds.start >= SEEDS {
            assert!(all.is_varied(), "{all:?}");
        }
    }
}
