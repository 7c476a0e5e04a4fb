//! The suite on the embedded log, with offsets that follow each other and with gaps among them.

mod dense {
    fpaas_log::log_conformance!(crate::support::Local::new(None));
}

mod gappy {
    fpaas_log::log_conformance!(crate::support::Local::new(Some(3)));
}
