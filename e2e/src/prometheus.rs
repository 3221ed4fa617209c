//! A real Prometheus that scrapes one page of metrics, which a trial writes.
//!
//! The page tells for each pod how many requests it served and how many of them failed; both rise with time, as counters do.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::cluster::Cluster;
use crate::keeper;
use crate::wait::{Seen, wait_until};

/// Requests a second, and how many of a hundred fail, by pod.
type Rates = BTreeMap<String, (f64, f64)>;

/// The page that is scraped.
#[derive(Clone)]
pub struct Page {
    rates: Arc<Mutex<Rates>>,
    namespace: String,
    port: u16,
}

impl Page {
    /// Serves the page on loopback, by a thread of its own: a trial that waits for a command keeps no scrape waiting.
    pub fn serve(namespace: &str) -> anyhow::Result<Self> {
        let door = TcpListener::bind(("127.0.0.1", 0))?;
        let page =
            Self { rates: Arc::default(), namespace: namespace.to_owned(), port: door.local_addr()?.port() };
        let (served, started) = (page.clone(), Instant::now());
        std::thread::spawn(move || {
            for caller in door.incoming() {
                let Ok(mut caller) = caller else { continue };
                let mut request = [0; 2048];
                let _ = caller.read(&mut request);
                let text = served.text(started.elapsed());
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    text.len()
                );
                let _ = caller.write_all(format!("{head}{text}").as_bytes());
            }
        });
        Ok(page)
    }

    /// From now on a pod serves so many requests a second, of which so many in a hundred fail.
    pub fn set(&self, pod: &str, per_second: f64, failing: f64) {
        self.rates.lock().unwrap().insert(pod.to_owned(), (per_second, failing));
    }

    fn text(&self, since: Duration) -> String {
        let mut text = String::new();
        for (pod, (per_second, failing)) in self.rates.lock().unwrap().iter() {
            let labels = format!("{{namespace=\"{}\",pod=\"{pod}\"}}", self.namespace);
            let requests = per_second * since.as_secs_f64();
            text.push_str(&format!("app_requests_total{labels} {requests}\n"));
            text.push_str(&format!("app_errors_total{labels} {}\n", requests * failing / 100.0));
        }
        text
    }
}

/// A running Prometheus.
pub struct Prometheus {
    child: Option<Child>,
    port: u16,
}

impl Prometheus {
    /// Starts one that scrapes the page once a second.
    pub async fn start(cluster: &Cluster, page: &Page) -> anyhow::Result<Self> {
        let folder = cluster.folder.join(format!("prometheus-{}", page.namespace));
        fs::create_dir_all(&folder)?;
        let config = folder.join("prometheus.yaml");
        fs::write(
            &config,
            format!(
                "global: {{scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 2s}}
scrape_configs:
- job_name: app
  honor_labels: true
  static_configs: [{{targets: [\"127.0.0.1:{}\"]}}]
",
                page.port
            ),
        )?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let log = fs::File::create(folder.join("log"))?;
        let child = Command::new(cluster.parts.program("prometheus"))
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("prometheus")?;
        keeper::remember(&cluster.folder, child.id())?;
        let prometheus = Self { child: Some(child), port };
        wait_until("Prometheus to be ready", Duration::from_secs(60), || async {
            let answer = reqwest::get(format!("{}/-/ready", prometheus.url())).await;
            Ok(match answer {
                Ok(answer) if answer.status().is_success() => Seen::Yes(()),
                other => Seen::NotYet(format!("{other:?}")),
            })
        })
        .await?;
        Ok(prometheus)
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Kills it.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.stop();
    }
}
