//! What refers to an image: the referrers API, and the fallback tag where a registry has none.
//!
//! "There is nothing" is said only where the registry said so: a 429, a cut list or a page that is none is `Unknown`, for
//! "no signatures" would be a verdict. Junk is counted, not fatal, and only the first 64 are read.

use oci_distribution::manifest::OciImageIndex;
use reqwest::{Method, StatusCode, Url};
use rollforward_core::evidence::{Referrer, Referrers, Unknown};
use rollforward_core::image::Digest;
use rollforward_core::reason::Reason;

use super::listing::next_page;
use super::token::Asker;
use super::transport::{Exchange, Request};
use super::words::{clean, unknown};
use super::{Inner, digest_header, found, hash, mismatch};

/// How many are read. An image has a handful; thousands are an attack on whoever verifies them.
pub(super) const MAX_REFERRERS: usize = 64;

/// Pages that are followed for them.
const MAX_PAGES: usize = 8;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What the referrers API said.
pub(super) enum Listed {
    /// That there is no such API here.
    NoApi,
    /// What it lists, which may be nothing.
    Some(Referrers),
}

impl Inner {
    /// `Ok(None)` where there is nothing, in the registry's own words.
    pub(super) async fn referrers(
        &self,
        asker: Asker<'_>,
        digest: &Digest,
    ) -> Result<Option<Referrers>, Unknown> {
        match self.referrers_by_api(asker, digest).await? {
            Listed::NoApi => self.referrers_by_tag(asker, digest).await,
            Listed::Some(all) => Ok(Some(all).filter(|all| !all.listed.is_empty() || all.n_more > 0)),
        }
    }

    pub(super) async fn referrers_by_api(
        &self,
        asker: Asker<'_>,
        digest: &Digest,
    ) -> Result<Listed, Unknown> {
        let mut all = Referrers { listed: Vec::new(), n_more: 0 };
        let mut next = Some(self.url(asker.repository, &format!("referrers/{digest}"))?);
        let mut n_pages = 0_usize;
        while let Some(url) = next {
            if MAX_PAGES <= n_pages || MAX_REFERRERS < all.listed.len().saturating_add(all.n_more) {
                all.n_more = all.n_more.saturating_add(1);
                break;
            }
            let exchange = self.ask_index(asker, url).await?;
            match exchange.status {
                StatusCode::OK => {}
                // The specification's sign that a registry has no such API; older ones answer as to any unknown path, and
                // one sends to its web pages.
                StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::SEE_OTHER
                    if n_pages == 0 =>
                {
                    return Ok(Listed::NoApi);
                }
                _ => return Err(exchange.unexpected(Reason::RegistryUnavailable)),
            }
            all.add(&exchange)?;
            n_pages = n_pages.saturating_add(1);
            next = next_page(&exchange.headers, &exchange.url)
                .map_err(|why| unknown(Reason::RegistryUnavailable, format!("{}, {why}", exchange.line)))?;
        }
        Ok(Listed::Some(all))
    }

    /// `sha256-<hex>`: an index that clients maintain where the registry does not.
    pub(super) async fn referrers_by_tag(
        &self,
        asker: Asker<'_>,
        digest: &Digest,
    ) -> Result<Option<Referrers>, Unknown> {
        let tag = digest.as_str().replace(':', "-");
        let url = self.url(asker.repository, &format!("manifests/{tag}"))?;
        let exchange = self.ask_index(asker, url).await?;
        if !found(&exchange)? {
            return Ok(None);
        }
        let actual = hash(&exchange)?;
        if let Some(named) = digest_header(&exchange)?
            && named != actual
        {
            return Err(mismatch(&exchange, &named, &actual));
        }
        let mut all = Referrers { listed: Vec::new(), n_more: 0 };
        all.add(&exchange)?;
        Ok(Some(all).filter(|all| !all.listed.is_empty() || all.n_more > 0))
    }

    async fn ask_index(&self, asker: Asker<'_>, url: Url) -> Result<Exchange, Unknown> {
        let request = Request {
            max_bytes: self.settings.max_manifest_bytes,
            oversize: Reason::RegistryUnavailable,
            ..self.request(asker, Method::GET, url, INDEX)
        };
        self.ask(asker, request).await
    }
}

trait Add {
    fn add(&mut self, exchange: &Exchange) -> Result<(), Unknown>;
}

impl Add for Referrers {
    /// Adds what an index lists. An entry that is no reference counts as one that was not read.
    fn add(&mut self, exchange: &Exchange) -> Result<(), Unknown> {
        let kind = exchange.content_type().unwrap_or_default();
        let parsed = serde_json::from_slice::<OciImageIndex>(&exchange.body);
        let index = parsed.ok().filter(|_| kind.is_empty() || kind.contains("json")).ok_or_else(|| {
            let message =
                format!("{}, a body of type {} that is no list of referrers", exchange.line, clean(&kind));
            unknown(Reason::RegistryUnavailable, message)
        })?;
        for entry in index.manifests {
            match Digest::parse(&entry.digest) {
                Ok(digest) if self.listed.len() < MAX_REFERRERS => self.listed.push(Referrer {
                    digest,
                    media_type: clean(&entry.media_type),
                    artifact_type: entry.artifact_type.as_deref().map(clean),
                    size_bytes: u64::try_from(entry.size).unwrap_or_default(),
                }),
                Ok(_) | Err(_) => self.n_more = self.n_more.saturating_add(1),
            }
        }
        Ok(())
    }
}
