//! The router as a whole, on the real embedded log.

// Clippy takes what is under `cfg(test)` for tests, helpers included.
#[cfg(test)]
mod catch_up;
#[cfg(test)]
#[cfg(test)]
mod index;
#[cfg(test)]
mod moves;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod scan;
#[cfg(test)]
mod undeliverable;
#[cfg(test)]
mod world;
