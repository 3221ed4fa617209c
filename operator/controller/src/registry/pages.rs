//! The loop over the pages of a list of tags, and how many tags a page of a registry may be asked for.
//!
//! A page that fails ends the question: a short list would read as a deletion. Reading one page: `listing.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use reqwest::{Method, StatusCode, Url};
use rollforward_core::evidence::Unknown;
use rollforward_core::reason::Reason;

use super::Inner;
use super::listing::{Listing, Part, TagList, next_page, read_page};
use super::token::Asker;
use super::transport::{Exchange, Request};
use super::words::{Complaint, clean, unknown};

/// What is asked for where a registry refuses more: ECR and GitLab take a thousand, every registry known a hundred.
const SMALLER_PAGES: [usize; 2] = [1000, SMALL_PAGE];
/// A page of this size is not refused for its size.
const SMALL_PAGE: usize = 100;

/// How many registries' page sizes are remembered.
const MAX_HOSTS: usize = 1024;

/// What each registry that refused our page size takes: a number, or no number at all.
#[derive(Default)]
pub(super) struct PageSizes(Mutex<BTreeMap<String, Option<usize>>>);

impl PageSizes {
    /// The number to ask for; `None` is to ask without one.
    fn of(&self, registry: &str, preferred: usize) -> Option<usize> {
        let sizes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sizes.get(registry).map_or(Some(preferred), |size| size.map(|size| size.min(preferred)))
    }

    /// Remembers that a registry refused a page of this size.
    fn refused(&self, registry: &str, size: usize) {
        let mut sizes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sizes.len() >= MAX_HOSTS {
            sizes.clear();
        }
        let smaller = SMALLER_PAGES.into_iter().find(|smaller| *smaller < size);
        sizes.insert(registry.to_owned(), smaller);
    }
}

/// One page: its tags, and where the next one is or why that cannot be believed.
struct Page {
    url: Url,
    tags: Vec<String>,
    next: Result<Option<Url>, String>,
}

impl Inner {
    /// `Ok(None)` where the registry does not know the tag to begin behind.
    pub(super) async fn list(&self, asker: Asker<'_>, part: &Part) -> Result<Option<TagList>, Unknown> {
        let mut listing = Listing::default();
        let Some((mut page, size)) = self.first_page(asker, part).await? else {
            return Ok(None);
        };
        let mut visited = BTreeSet::from([page.url.to_string()]);
        let mut n_pages = 1_usize;
        let complete = loop {
            let last = page.tags.last().cloned();
            let is_news = page.tags.iter().any(|tag| !listing.knows(tag));
            let n_tags = page.tags.len();
            let next = page.next;
            if !listing.add(page.tags, self.settings.max_tags) {
                break false;
            }
            let next = next.map_err(|why| incomplete(n_pages, unknown(Reason::TagListIncomplete, why)))?;
            // A page as full as was asked for, without a link, may be cut: only the next page can tell.
            let url = match next {
                Some(url) => url,
                None if size == Some(n_tags) && is_news => self.page_url(asker, last.as_deref(), size)?,
                None => break true,
            };
            if part.ends_with(last.as_ref()) || n_pages >= self.settings.max_pages {
                break false;
            }
            if !visited.insert(url.to_string()) {
                let cause = unknown(Reason::TagListIncomplete, "the pages go round in a circle");
                return Err(incomplete(n_pages, cause));
            }
            let exchange = self.ask_page(asker, url).await.map_err(|cause| incomplete(n_pages, cause))?;
            page = read(exchange).map_err(|cause| incomplete(n_pages, cause))?;
            n_pages = n_pages.saturating_add(1);
        };
        if listing.n_refused > 0 {
            let (repository, n_refused) = (asker.repository.to_string(), listing.n_refused);
            tracing::warn!(repository, n_refused, "names in the tag list that are no tags");
        }
        Ok(Some(listing.finish(complete, n_pages)))
    }

    /// The first page and the size that it was asked in. A registry that refuses the size is asked for less, then for any.
    async fn first_page(
        &self,
        asker: Asker<'_>,
        part: &Part,
    ) -> Result<Option<(Page, Option<usize>)>, Unknown> {
        let registry = asker.repository.registry();
        let preferred = self.settings.page_size;
        let preferred = part.n_tags.map_or(preferred, |expected| expected.clamp(1, preferred));
        loop {
            let size = self.page_sizes.of(registry, preferred);
            let exchange = self.ask_page(asker, self.page_url(asker, part.after.as_deref(), size)?).await?;
            let is_refused = matches!(
                exchange.status,
                StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY
            );
            let is_small = size.is_none_or(|size| size <= SMALL_PAGE);
            match size {
                _ if part.after.is_some() && exchange.status == StatusCode::NOT_FOUND => return Ok(None),
                // A small page was not refused for its size.
                _ if part.after.is_some() && is_refused && is_small => return Ok(None),
                Some(size) if is_refused => self.page_sizes.refused(registry, size),
                _ => return read(exchange).map(|page| Some((page, size))),
            }
        }
    }

    async fn ask_page(&self, asker: Asker<'_>, url: Url) -> Result<Exchange, Unknown> {
        let request = Request {
            max_bytes: self.settings.max_page_bytes,
            oversize: Reason::RegistryUnavailable,
            ..self.request(asker, Method::GET, url, "application/json")
        };
        self.ask(asker, request).await
    }

    fn page_url(&self, asker: Asker<'_>, after: Option<&str>, size: Option<usize>) -> Result<Url, Unknown> {
        let mut url = self.url(asker.repository, "tags/list")?;
        if let Some(size) = size {
            url.query_pairs_mut().append_pair("n", &size.to_string());
        }
        if let Some(after) = after {
            url.query_pairs_mut().append_pair("last", after);
        }
        Ok(url)
    }
}

fn read(exchange: Exchange) -> Result<Page, Unknown> {
    match exchange.status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND if !Complaint::read(&exchange.body).code.is_empty() => {
            return Err(exchange.unexpected(Reason::RepositoryNotFound));
        }
        _ => return Err(exchange.unexpected(Reason::RegistryUnavailable)),
    }
    let kind = exchange.content_type().unwrap_or_default();
    if !kind.is_empty() && !kind.contains("json") {
        let message = format!("{}, a body of type {} instead of a list", exchange.line, clean(&kind));
        return Err(unknown(Reason::RegistryUnavailable, message));
    }
    let tags = read_page(&exchange.body).ok_or_else(|| {
        unknown(Reason::RegistryUnavailable, format!("{}, a body that is not a list of tags", exchange.line))
    })?;
    Ok(Page { tags, next: next_page(&exchange.headers, &exchange.url), url: exchange.url })
}

fn incomplete(n_pages: usize, cause: Unknown) -> Unknown {
    Unknown {
        reason: Reason::TagListIncomplete,
        message: format!("the listing ended after {n_pages} pages: {}", cause.message),
        retry_at: cause.retry_at,
    }
}
