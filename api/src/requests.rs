//! What the API was asked and how long the answers took, by route: the only numbers that this crate counts itself.

use http::StatusCode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

type Labels<const N: usize> = [(&'static str, String); N];

/// Since the process started. As many numbers as there are routes, a handful of methods, and classes of statuses.
#[derive(Debug)]
pub(crate) struct Requests {
    ended: Family<Labels<3>, Counter>,
    took: Family<Labels<2>, Histogram, fn() -> Histogram>,
}

impl Default for Requests {
    fn default() -> Self {
        Self { ended: Family::default(), took: Family::new_with_constructor(histogram) }
    }
}

/// From a browse of memory to the longest wait for a command.
fn histogram() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0])
}

impl Requests {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("fpaas_api_requests", "Requests answered", self.ended.clone());
        let help = "Time until a request's answer began";
        registry.register_with_unit("fpaas_api_request_duration", help, Unit::Seconds, self.took.clone());
    }

    /// Notes an answer.
    pub(crate) fn note(&self, method: &'static str, route: String, status: StatusCode, seconds: f64) {
        let class = format!("{}xx", status.as_u16() / 100);
        let route_labels = [("method", method.to_owned()), ("route", route)];
        self.took.get_or_create(&route_labels).observe(seconds);
        let [method, route] = route_labels;
        self.ended.get_or_create(&[method, route, ("status", class)]).inc();
    }
}
