//! The door to Prometheus: one instant query, one number. Only addresses that the operator's configuration allows.
//!
//! A policy is a tenant's; the request is the operator's. So: no redirect, no proxy, no credential, no link-local address
//! (where clouds serve their secrets), bounded in time, bytes and number. What the numbers mean: core's `judge/signals.rs`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Url};
use rollforward_core::judge::signals::{Reading, SignalSeen};
use rollforward_core::policy::{Analysis, Signal};
use rollforward_core::text;
use serde_json::Value;

/// The addresses that may be asked.
pub type Allowed = Arc<Vec<String>>;

/// How long a query may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often the signals of a run are asked.
const INTERVAL: Duration = Duration::from_secs(5);
/// How many bytes of an answer are read: one number needs a few hundred.
const MAX_BYTES: usize = 64 * 1024;
/// How many old pods a query names: the rest is like them.
const MAX_PODS: usize = 50;

/// Whether an address may be asked: to the letter one of those allowed, and none where clouds serve their secrets.
#[must_use]
pub fn is_allowed(allowed: &Allowed, url: &str) -> bool {
    allowed.iter().any(|known| known == url) && is_public(url)
}

/// Whether an address could be a Prometheus: http or https, no user, no query, no metadata service.
#[must_use]
pub fn is_public(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let plain = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_lowercase();
    let named = ["metadata.google.internal", "metadata", "instance-data"].contains(&host.as_str());
    let bad = host.parse::<IpAddr>().is_ok_and(is_metadata);
    plain && !host.is_empty() && !named && !bad
}

/// Link-local addresses, and the one of IPv6 that EC2 uses: where machines get their credentials.
fn is_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_unspecified() || address.is_multicast(),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => is_metadata(IpAddr::V4(mapped)),
            None => {
                let first = address.segments()[0];
                first & 0xffc0 == 0xfe80
                    || address.segments()[..2] == [0xfd00, 0x0ec2]
                    || address.is_unspecified()
                    || address.is_multicast()
            }
        },
    }
}

/// Resolves names and leaves out where clouds serve their secrets: a name may point anywhere.
struct Careful;

impl Resolve for Careful {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let kept: Vec<SocketAddr> = found.filter(|address| !is_metadata(address.ip())).collect();
            let addresses: Addrs = Box::new(kept.into_iter());
            Ok(addresses)
        })
    }
}

/// What a run's signals answered, and when.
type Answers = (Instant, Vec<SignalSeen>);

/// The client, and what each run's signals answered last.
#[derive(Clone)]
pub struct Meter {
    client: Client,
    last: Arc<Mutex<BTreeMap<String, Answers>>>,
}

/// What stands in the places of a query's variables.
pub struct Variables<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The new pods.
    pub canary: Vec<&'a str>,
    /// The old ones.
    pub stable: Vec<&'a str>,
    /// How long the new pods have been watched, in seconds.
    pub window_seconds: i64,
}

impl Meter {
    /// A client of its own: nothing of the registries' credentials or proxies is in it.
    ///
    /// # Errors
    /// Where no TLS can be set up.
    pub fn new() -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .user_agent(concat!("rollforward/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .timeout(TIMEOUT)
            .dns_resolver(Arc::new(Careful))
            .build()?;
        Ok(Self { client, last: Arc::default() })
    }

    /// The signals of a run, as they were at most [`INTERVAL`] ago.
    pub async fn read(
        &self,
        run: &str,
        analysis: &Analysis,
        allowed: &Allowed,
        places: &Variables<'_>,
    ) -> Vec<SignalSeen> {
        let key = format!("{}/{run}", places.namespace);
        {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.retain(|_, (at, _)| at.elapsed() < INTERVAL);
            if let Some((_, known)) = last.get(&key) {
                return known.clone();
            }
        }
        let asked = analysis.signals.iter().map(|signal| self.signal(&analysis.url, allowed, signal, places));
        let seen = futures::future::join_all(asked).await;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.insert(key, (Instant::now(), seen.clone()));
        seen
    }

    async fn signal(
        &self,
        url: &str,
        allowed: &Allowed,
        signal: &Signal,
        places: &Variables<'_>,
    ) -> SignalSeen {
        let ask = async |query: Option<&String>| match query {
            Some(query) => Some(self.number(url, allowed, &filled(query, places)).await),
            None => None,
        };
        SignalSeen {
            name: signal.name.clone(),
            canary: ask(Some(&signal.canary)).await.unwrap_or(Reading::NoData),
            stable: ask(signal.stable.as_ref()).await,
            requests: ask(signal.requests.as_ref()).await,
        }
    }

    async fn number(&self, url: &str, allowed: &Allowed, query: &str) -> Reading {
        // The configuration may have changed since the run began.
        if !is_allowed(allowed, url) {
            return Reading::Unknown(
                "the operator's configuration does not allow this address any more".to_owned(),
            );
        }
        let address = format!("{}/api/v1/query", url.trim_end_matches('/'));
        match self.ask(&address, query).await {
            Ok((status, body)) => read(status, &body),
            Err(error) => Reading::Unknown(words(&error)),
        }
    }

    async fn ask(&self, address: &str, query: &str) -> Result<(u16, Vec<u8>), reqwest::Error> {
        let mut url = match Url::parse(address) {
            Ok(url) => url,
            Err(_) => return Ok((0, Vec::new())),
        };
        url.query_pairs_mut().append_pair("query", query);
        let answer = self.client.get(url).send().await?;
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        let mut stream = answer.bytes_stream();
        while let Some(chunk) = stream.next().await {
            body.extend_from_slice(&chunk?);
            if MAX_BYTES < body.len() {
                break;
            }
        }
        Ok((status, body))
    }
}

/// A failed request in words, without the address, which is in the policy.
fn words(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", TIMEOUT.as_secs());
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    text::clean(&cause.to_string(), 120)
}

/// The number in an answer of `/api/v1/query`.
fn read(status: u16, body: &[u8]) -> Reading {
    if MAX_BYTES < body.len() {
        return Reading::Unknown(format!(
            "an answer of more than {} KiB, expected one number",
            MAX_BYTES / 1024
        ));
    }
    let Ok(answer) = serde_json::from_slice::<Value>(body) else {
        return Reading::Unknown(format!("status {status}, expected an answer of Prometheus"));
    };
    if answer["status"] != "success" {
        let why = answer["error"].as_str().unwrap_or("no reason given");
        return Reading::Unknown(format!("status {status}: {}", text::clean(why, 120)));
    }
    let data = &answer["data"];
    let number = |sample: &Value| {
        let text = sample.get(1).and_then(Value::as_str)?;
        // Prometheus writes NaN, +Inf and -Inf too.
        text.parse::<f64>().ok()
    };
    let single = match (data["resultType"].as_str(), data["result"].as_array()) {
        (Some("scalar"), _) => number(&data["result"]),
        (Some("vector"), Some(series)) => match series.as_slice() {
            [] => return Reading::NoData,
            [one] => number(&one["value"]),
            many => {
                return Reading::Unknown(format!(
                    "{} series, expected one: wrap the query in sum()",
                    many.len()
                ));
            }
        },
        (kind, _) => {
            let kind = text::clean(kind.unwrap_or("nothing"), 20);
            return Reading::Unknown(format!("a {kind}, expected one number"));
        }
    };
    single.map_or_else(|| Reading::Unknown("a value that is no number".to_owned()), Reading::Value)
}

/// A query with its variables filled in. Names of pods and namespaces are DNS labels: nothing to escape but their dots.
fn filled(query: &str, places: &Variables<'_>) -> String {
    let pods = |names: &[&str]| {
        let names: Vec<String> = names.iter().take(MAX_PODS).map(|name| name.replace('.', "[.]")).collect();
        // PromQL anchors regular expressions; the brackets keep what a user writes around it apart. No pod is called "-".
        if names.is_empty() { "(-)".to_owned() } else { format!("({})", names.join("|")) }
    };
    query
        .replace("$namespace", places.namespace)
        .replace("$canary", &pods(&places.canary))
        .replace("$stable", &pods(&places.stable))
        .replace("$window", &format!("{}s", places.window_seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_allowed_addresses_are_asked_and_never_where_clouds_serve_their_secrets() {
        let allowed: Allowed = Arc::new(
            [
                "http://prometheus.monitoring:9090",
                "http://169.254.169.254",
                "http://[fd00:ec2::254]/",
                "https://p.test/prom",
            ]
            .map(str::to_owned)
            .to_vec(),
        );
        assert!(is_allowed(&allowed, "http://prometheus.monitoring:9090"));
        assert!(is_allowed(&allowed, "https://p.test/prom"));
        for other in [
            "http://prometheus.monitoring:9091",
            "http://prometheus.monitoring:9090@evil.test",
            "http://prometheus.monitoring:9090/../x",
            "https://p.test",
            "http://169.254.169.254",
            "http://[fd00:ec2::254]/",
            "",
        ] {
            assert!(!is_allowed(&allowed, other), "{other}");
        }
        for hostile in [
            "http://169.254.169.254/latest",
            "http://[fe80::1]:9090",
            "http://[::ffff:169.254.169.254]",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://metadata.google.internal",
            "http://user@p.test",
            "http://:geheim@p.test",
            "ftp://p.test",
            "http://p.test/?a=b",
            "file:///etc/passwd",
        ] {
            assert!(!is_public(hostile), "{hostile}");
        }
    }

    #[test]
    fn one_number_is_read_and_everything_else_is_said_to_be_something_else() {
        let check = |body: &str, wanted: Reading| assert_eq!(read(200, body.as_bytes()), wanted, "{body}");
        let vector = |series: &str| {
            format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{series}]}}}}"#)
        };
        check(&vector(r#"{"metric":{},"value":[1,"0.25"]}"#), Reading::Value(0.25));
        check(&vector(""), Reading::NoData);
        check(r#"{"status":"success","data":{"resultType":"scalar","result":[1,"7"]}}"#, Reading::Value(7.0));
        let two = vector(r#"{"metric":{},"value":[1,"1"]},{"metric":{},"value":[1,"2"]}"#);
        check(&two, Reading::Unknown("2 series, expected one: wrap the query in sum()".to_owned()));
        check(
            r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#,
            Reading::Unknown("a matrix, expected one number".to_owned()),
        );
        check("<html>", Reading::Unknown("status 200, expected an answer of Prometheus".to_owned()));
        let error = r#"{"status":"error","errorType":"bad_data","error":"parse error: unexpected end"}"#;
        assert_eq!(
            read(400, error.as_bytes()),
            Reading::Unknown("status 400: parse error: unexpected end".to_owned())
        );
    }

    #[test]
    fn the_variables_of_a_query_are_filled_in() {
        let places = Variables {
            namespace: "shop",
            canary: vec!["web-2-a", "web-2.b"],
            stable: Vec::new(),
            window_seconds: 60,
        };
        assert_eq!(
            filled(
                r#"sum(rate(x{namespace="$namespace",pod=~"$canary"}[$window]))/y{pod=~"$stable"}"#,
                &places
            ),
            r#"sum(rate(x{namespace="shop",pod=~"(web-2-a|web-2[.]b)"}[60s]))/y{pod=~"(-)"}"#
        );
    }
}
