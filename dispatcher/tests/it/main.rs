//! A pool's dispatcher from the outside: deliveries in, calls out, results and dead letters in the log.

// Clippy takes what is under `cfg(test)` for tests, helpers included.
#[cfg(test)]
mod calls;
#[cfg(test)]
mod changes;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod moves;
#[cfg(test)]
mod mutual;
#[cfg(test)]
mod ordering;
#[cfg(test)]
mod owners;
#[cfg(test)]
mod redrive;
#[cfg(test)]
mod reports;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod shapes;
#[cfg(test)]
mod support;
