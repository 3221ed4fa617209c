//! What refers to an image: the referrers API, and the fallback tag where a registry has none.
//!
//! `oci_distribution` asks, at our door. "There is nothing" is said only where the registry said so: a 429, a cut list or a page that is none is `Unknown`, for
//! "no signatures" would be a verdict. Junk is counted, not fatal, and only the first 64 are read.

use oci_distribution::manifest::OciImageIndex;
use reqwest::{StatusCode, Url};
use rollforward_core::evidence::{Place, Referrer, Referrers, Unknown};
use rollforward_core::image::Digest;
use rollforward_core::reason::Reason;

use super::Inner;
use super::door::{Said, Step};
use super::listing::next_page;
use super::pull::{Wanted, settle};
use super::token::Asker;
use super::transport::Exchange;
use super::words::{clean, unknown};

/// How many are read. An image has a handful; thousands are an attack on whoever verifies them.
pub(super) const MAX_REFERRERS: usize = 64;

/// Pages that are followed for them.
const MAX_PAGES: usize = 8;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

impl Inner {
    /// `Ok(None)` where there is nothing, in the registry's own words. `place` becomes the one that was asked last.
    ///
    /// The crate reads one page; each further one is asked for in a call of its own.
    pub(super) async fn referrers(
        &self,
        asker: Asker<'_>,
        digest: &Digest,
        place: &mut Place,
    ) -> Result<Option<Referrers>, Unknown> {
        let mut all = Referrers { listed: Vec::new(), n_more: 0 };
        let mut next = None;
        for n_pages in 1_usize.. {
            let Some((index, page)) = self.page(asker, digest, next, place).await? else { break };
            add(&mut all, index);
            if *place == Place::FallbackTag {
                break;
            }
            next = next_page(&page.headers, &page.url)
                .map_err(|why| unknown(Reason::RegistryUnavailable, format!("{}, {why}", page.line)))?;
            if next.is_none() {
                break;
            }
            if MAX_PAGES <= n_pages || MAX_REFERRERS < all.listed.len().saturating_add(all.n_more) {
                all.n_more = all.n_more.saturating_add(1);
                break;
            }
        }
        Ok(Some(all).filter(|all| !all.listed.is_empty() || all.n_more > 0))
    }

    /// The first page, or the one at a link. The crate asks the API, and `sha256-<hex>` where there is none.
    async fn page(
        &self,
        asker: Asker<'_>,
        digest: &Digest,
        link: Option<Url>,
        place: &mut Place,
    ) -> Result<Option<(OciImageIndex, Exchange)>, Unknown> {
        let tag = digest.as_str().replace(':', "-");
        let (by_api, by_tag) = (format!("referrers/{digest}"), format!("manifests/{tag}"));
        let mut call = self.call(asker).await?;
        let (client, image) = (call.client(), call.reference(digest.as_str()));
        let mut question = Box::pin(client.pull_referrers(&image, None));
        let mut said = None;
        let listed = loop {
            match call.next(question.as_mut()).await {
                Step::Done(listed) => break listed,
                Step::Asked(visit) if visit.path() == by_api && said.is_none() => {
                    match visit.answer(self.ask_api(asker, &by_api, link.clone()).await) {
                        Ok(None) => *place = Place::FallbackTag,
                        answer => said = Some(answer),
                    }
                }
                Step::Asked(visit)
                    if visit.path() == by_tag && said.is_none() && *place == Place::FallbackTag =>
                {
                    // An index that clients maintain where the registry does not.
                    let index = self.ask_manifest(asker, &tag, self.index()).await;
                    said = Some(visit.answer(index.and_then(|index| index.map(list).transpose())));
                }
                Step::Asked(visit) => visit.refuse(),
            }
        };
        settle(asker, said, listed, no_list)
    }

    /// `Ok(None)` where there is no such API here.
    async fn ask_api(&self, asker: Asker<'_>, path: &str, link: Option<Url>) -> Said {
        let is_first = link.is_none();
        let url = link.map_or_else(|| self.url(asker.repository, path), Ok)?;
        let exchange = self.get(asker, url, self.index()).await?;
        match exchange.status {
            StatusCode::OK => list(exchange).map(Some),
            // The specification's sign that a registry has no such API; older ones answer as to any unknown path, and one
            // sends to its web pages.
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::SEE_OTHER if is_first => {
                Ok(None)
            }
            _ => Err(exchange.unexpected(Reason::RegistryUnavailable)),
        }
    }

    fn index(&self) -> Wanted {
        let max_bytes = self.settings.max_manifest_bytes;
        Wanted { accept: INDEX, max_bytes, oversize: Reason::RegistryUnavailable }
    }
}

/// Gives an answer on if it calls itself JSON.
fn list(exchange: Exchange) -> Result<Exchange, Unknown> {
    let kind = exchange.content_type().unwrap_or_default();
    if kind.is_empty() || kind.contains("json") { Ok(exchange) } else { Err(no_list(&exchange)) }
}

fn no_list(exchange: &Exchange) -> Unknown {
    let kind = clean(&exchange.content_type().unwrap_or_default());
    let message = format!("{}, a body of type {kind} that is no list of referrers", exchange.line);
    unknown(Reason::RegistryUnavailable, message)
}

/// Adds what an index lists. An entry that is no reference counts as one that was not read.
fn add(all: &mut Referrers, index: OciImageIndex) {
    for entry in index.manifests {
        match Digest::parse(&entry.digest) {
            Ok(digest) => push(
                all,
                Referrer {
                    digest,
                    media_type: clean(&entry.media_type),
                    artifact_type: entry.artifact_type.as_deref().map(clean),
                    size_bytes: u64::try_from(entry.size).unwrap_or_default(),
                },
            ),
            Err(_) => all.n_more = all.n_more.saturating_add(1),
        }
    }
}

/// Adds one that was not listed before, while there is room.
pub(super) fn push(all: &mut Referrers, one: Referrer) {
    if all.listed.iter().any(|known| known.digest == one.digest) {
        return;
    }
    if all.listed.len() < MAX_REFERRERS {
        all.listed.push(one);
    } else {
        all.n_more = all.n_more.saturating_add(1);
    }
}
