//! What of a subscription is kept apart from what is given back to readers: its secret, and the key of its client
//! certificate. Pure.

use fpaas_core::Violation;
use fpaas_core::subscription::{ClientCertificate, PrivateKey, Processor, Secret, Subscription, Webhook};

use super::SubscriptionEntry;

/// The secret that it brings.
pub(super) fn take_secret(config: &mut Subscription) -> Option<Secret> {
    webhook(config)?.secret.take()
}

/// The key of its client certificate: the one that it brings, or the one that is there while the certificate stays as
/// it is. Fails where neither is, so that a certificate never stands beside the key of another.
pub(super) fn take_key(
    config: &mut Subscription,
    old: Option<&SubscriptionEntry>,
) -> Result<Option<PrivateKey>, Violation> {
    let Some(certificate) = webhook(config).and_then(|webhook| webhook.client_certificate.as_mut()) else {
        return Ok(None);
    };
    let kept = || old?.identity().filter(|old| old.certificate.certificate == certificate.certificate);
    match certificate.private_key.take().or_else(|| kept().map(|old| old.key.clone())) {
        Some(key) => Ok(Some(key)),
        None => Err(ClientCertificate::keyless(old.is_some_and(|old| old.identity().is_some()))),
    }
}

fn webhook(config: &mut Subscription) -> Option<&mut Webhook> {
    match &mut config.processor {
        Some(Processor::Webhook(webhook)) => Some(webhook),
        _ => None,
    }
}
