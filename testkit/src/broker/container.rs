//! The broker from an image that is configured as the official one is: by variables named `KAFKA_…`.
//!
//! Everything that speaks to the daemon runs on a runtime that no test owns: connections to it outlive tests.

use std::sync::{Arc, LazyLock, mpsc};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testcontainers::bollard::Docker;
use testcontainers::bollard::models::HostConfig;
use testcontainers::core::IntoContainerPort as _;
use testcontainers::core::client::docker_client_instance;
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt as _};
use tokio::runtime::{Builder, Runtime};

use super::jars::last_lines;
use super::node::{CLUSTER_ID, HEAP, Node};
use super::options::Options;
use crate::guard::Guard;

/// How long a daemon that is there may take to say so, on a machine that is busy: it is asked once in a process.
const PING: Duration = Duration::from_secs(20);
/// How long an image may take to come.
const PULL: Duration = Duration::from_secs(300);
/// How long a broker may take to stop by itself, in seconds.
const STOP: i32 = 30;
/// How long a container may take to be removed.
const REMOVAL: Duration = Duration::from_secs(30);

/// Where the official image may write.
const LOGS: &str = "/tmp/kraft-combined-logs";

/// Removes the container of that name. The client of Docker's command line may be missing where its daemon is not.
const CLEAN_UP: &str = r#"
docker rm --force --volumes "$1" && exit
socket=${DOCKER_HOST:-unix:///var/run/docker.sock}
curl --silent --unix-socket "${socket#unix://}" -X DELETE "http://docker/containers/$1?force=true&v=true"
"#;

static RUNTIME: LazyLock<std::io::Result<Runtime>> = LazyLock::new(|| {
    let mut runtime = Builder::new_multi_thread();
    runtime.worker_threads(1).thread_name("docker").enable_all().build()
});

/// Runs it there.
async fn apart<T: Send + 'static>(what: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let runtime = RUNTIME.as_ref().ok().context("there is no runtime for what speaks to Docker")?;
    runtime.spawn(what).await?
}

/// An image that the daemon has.
#[derive(Clone, Debug)]
pub(super) struct Image {
    name: String,
    tag: String,
}

impl Image {
    /// Pulls it where the daemon does not have it. An error says why there is none.
    pub(super) async fn of(descriptor: &str) -> Result<Self> {
        let at = descriptor.rfind(':').filter(|at| !descriptor.get(*at..).unwrap_or_default().contains('/'));
        let (name, tag) = at.map_or((descriptor, "latest"), |at| (&descriptor[..at], &descriptor[at + 1..]));
        let image = Self { name: name.to_owned(), tag: tag.to_owned() };
        let (request, descriptor) = (image.request(), descriptor.to_owned());
        apart(async move {
            let docker = daemon().await?;
            if docker.inspect_image(&descriptor).await.is_err() {
                crate::skip::note(&format!("note: Docker pulls the image {descriptor}"));
                let pulled = tokio::time::timeout(PULL, request.pull_image()).await;
                let pulled = pulled.is_ok_and(|pulled| pulled.is_ok());
                ensure!(pulled, "the image {descriptor} is not here and cannot be pulled");
            }
            Ok(())
        })
        .await?;
        Ok(image)
    }

    fn request(&self) -> ContainerRequest<GenericImage> {
        GenericImage::new(&self.name, &self.tag).into()
    }
}

/// A daemon that answers.
async fn daemon() -> Result<Docker> {
    let absent = "no Docker daemon answers";
    let docker = docker_client_instance().await.ok().context(absent)?;
    let answer = tokio::time::timeout(PING, docker.ping()).await.ok().context(absent)?;
    answer.ok().context(absent)?;
    Ok(docker)
}

/// A container; removed when it is dropped.
#[derive(Debug)]
pub(super) struct Container {
    name: String,
    // Taken when it is dropped, and by what is under way.
    container: Option<Arc<ContainerAsync<GenericImage>>>,
    // Dropped last: it removes what is left.
    _guard: Guard,
}

impl Container {
    /// Starts it.
    pub(super) async fn create(image: &Image, node: &Node, options: &Options) -> Result<Self> {
        let name = format!("fpaas-kafka-{}-{}", std::process::id(), node.address().port());
        let guard = Guard::new(CLEAN_UP, &name)?;
        let mut request = image.request().with_container_name(&name).with_host_config_modifier(loopback);
        for port in node.ports() {
            request = request.with_mapped_port(port, port.tcp());
        }
        for (property, value) in node.properties("0.0.0.0", LOGS, options) {
            request = request.with_env_var(variable(&property), value);
        }
        request = request.with_env_var("CLUSTER_ID", CLUSTER_ID).with_env_var("KAFKA_HEAP_OPTS", HEAP);
        if !options.java.is_empty() {
            request = request.with_env_var("KAFKA_JVM_PERFORMANCE_OPTS", options.java);
        }
        let container = apart(async move { Ok(request.start().await?) }).await?;
        Ok(Self { name, container: Some(Arc::new(container)), _guard: guard })
    }

    pub(super) async fn start(&self) -> Result<()> {
        let container = self.container()?;
        apart(async move { Ok(container.start().await?) }).await
    }

    pub(super) async fn stop(&self) -> Result<()> {
        let container = self.container()?;
        apart(async move { Ok(container.stop_with_timeout(Some(STOP)).await?) }).await
    }

    pub(super) async fn kill(&self) -> Result<()> {
        let name = self.name.clone();
        apart(async move {
            let docker = daemon().await?;
            docker.kill_container(&name, None).await?;
            // Killed is not yet gone.
            while docker.inspect_container(&name, None).await?.state.and_then(|state| state.running) == Some(true) {
                tokio::task::yield_now().await;
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn pause(&self) -> Result<()> {
        let container = self.container()?;
        apart(async move { Ok(container.pause().await?) }).await
    }

    pub(super) async fn resume(&self) -> Result<()> {
        let container = self.container()?;
        apart(async move { Ok(container.unpause().await?) }).await
    }

    pub(super) async fn runs(&self) -> bool {
        let Ok(container) = self.container() else { return false };
        apart(async move { Ok(container.is_running().await?) }).await.unwrap_or_default()
    }

    /// The end of what it has said.
    pub(super) async fn said(&self) -> String {
        let Ok(container) = self.container() else { return String::new() };
        let said = apart(async move {
            let (out, err) = (container.stdout_to_vec().await?, container.stderr_to_vec().await?);
            Ok([out, err].concat())
        });
        last_lines(&String::from_utf8_lossy(&said.await.unwrap_or_default()))
    }

    fn container(&self) -> Result<Arc<ContainerAsync<GenericImage>>> {
        self.container.clone().context("the container is gone")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let (Some(container), Ok(runtime)) = (self.container.take(), RUNTIME.as_ref()) else { return };
        let (done, removed) = mpsc::channel();
        runtime.spawn(async move {
            // Removes it where nothing else holds it; the guard does in any case.
            if let Some(container) = Arc::into_inner(container) {
                drop(container.rm().await);
            }
            let _waiting = done.send(());
        });
        let _in_time = removed.recv_timeout(REMOVAL);
    }
}

/// Publishes ports to this machine alone.
fn loopback(config: &mut HostConfig) {
    let bindings = config.port_bindings.iter_mut().flat_map(|bindings| bindings.values_mut()).flatten().flatten();
    for binding in bindings {
        binding.host_ip = Some("127.0.0.1".to_owned());
    }
}

/// `transaction.state.log.min.isr` → `KAFKA_TRANSACTION_STATE_LOG_MIN_ISR`, as the official image reads it back.
fn variable(property: &str) -> String {
    format!("KAFKA_{}", property.replace('_', "__").replace('-', "___").replace('.', "_").to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_is_named_as_the_official_image_reads_it() {
        assert_eq!(variable("transaction.state.log.min.isr"), "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR");
        let scram = variable("listener.name.client.scram-sha-512.sasl.jaas.config");
        assert_eq!(scram, "KAFKA_LISTENER_NAME_CLIENT_SCRAM___SHA___512_SASL_JAAS_CONFIG");
    }
}
