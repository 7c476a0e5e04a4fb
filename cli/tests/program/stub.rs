//! A server that gives the answers of a test, one a connection, and remembers what it was asked.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use fpaas_testkit::Dev;

/// It answers as many requests as there are answers, and then takes no connection any more.
pub(crate) struct Stub {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    pub(crate) fn start(answers: Vec<String>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        std::thread::spawn(move || {
            for answer in answers {
                let Ok((mut stream, _)) = listener.accept() else { return };
                let Ok(request) = request(&mut stream) else { return };
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                // Who asks may have gone.
                drop(stream.write_all(answer.as_bytes()));
            }
        });
        Ok(Self { url, asked })
    }

    /// Every request so far, its head in small letters.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs a command against it: its code, and what it said.
    pub(crate) async fn run(&self, dev: &Dev, arguments: &[&str]) -> Result<(i32, String, String)> {
        let mut command = dev.command();
        command.args(["--server", &self.url, "--api-key", "a-key-of-this-test"]).args(arguments);
        let output = command.output().await?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok((output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr)))
    }
}

/// JSON, with these lines of a head.
pub(crate) fn answer(status: &str, head: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nconnection: close\r\n{head}content-length: {length}\r\n\r\n{body}")
}

/// Its head, and its body.
fn request(stream: &mut TcpStream) -> Result<String> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(Ok(0), str::parse::<usize>)? {
                return Ok(format!("{head}\n\n{body}"));
            }
        }
        let read = stream.read(&mut chunk)?;
        bytes.extend(chunk.get(..read).filter(|read| !read.is_empty()).context("it has ended")?);
    }
}
