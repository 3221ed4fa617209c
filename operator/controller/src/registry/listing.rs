//! What a page of tags holds, where the next one is, and which part of a list is asked for.
//!
//! The `Link` header is foreign: it is followed only to the same list on the same host. The loop over pages: `pages.rs`;
//! what is learned from a list, and which part is enough: `scans.rs`.

use std::collections::BTreeSet;

use reqwest::Url;
use reqwest::header::{HeaderMap, LINK};
use rollforward_core::image::Tag;
use serde::{Deserialize, Deserializer};

use super::words::clean;

/// The tags of a repository, in the registry's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagList {
    /// Each once. Names that are no tags by the grammar are left out: no reference can spell them.
    pub tags: Vec<String>,
    /// False where our own limit of pages or tags, or the end of the part that was asked for, ended the listing: nothing
    /// may be concluded from what is missing behind the last tag.
    pub complete: bool,
    /// How many pages it took.
    pub n_pages: usize,
}

/// The part of a list that is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// A tag that the registry knows: what stands behind it is listed. From the start where `None`.
    pub after: Option<String>,
    /// In a list by name: the listing may end at a tag that is not below this text.
    pub until: Option<String>,
    /// Ends after the first page.
    pub first_page_only: bool,
    /// How many tags are expected; the registry's page size where `None` or where that is smaller.
    pub n_tags: Option<usize>,
}

impl Part {
    /// Whether a page that ends with this tag is the last that is needed.
    pub(super) fn ends_with(&self, last: Option<&String>) -> bool {
        self.first_page_only
            || matches!((&self.until, last), (Some(until), Some(last)) if until.as_str() <= last.as_str())
    }
}

/// A listing in the making.
#[derive(Default)]
pub(super) struct Listing {
    tags: Vec<String>,
    seen: BTreeSet<String>,
    pub(super) n_refused: usize,
}

impl Listing {
    /// Adds a page. False if `max_tags` does not hold it.
    pub(super) fn add(&mut self, page: Vec<String>, max_tags: usize) -> bool {
        for tag in page {
            if Tag::parse(&tag).is_err() {
                self.n_refused = self.n_refused.saturating_add(1);
            } else if !self.seen.contains(&tag) {
                if self.tags.len() >= max_tags {
                    return false;
                }
                self.seen.insert(tag.clone());
                self.tags.push(tag);
            }
        }
        true
    }

    /// Whether a tag is already here.
    pub(super) fn knows(&self, tag: &str) -> bool {
        self.seen.contains(tag)
    }

    pub(super) fn finish(self, complete: bool, n_pages: usize) -> TagList {
        TagList { tags: self.tags, complete, n_pages }
    }
}

/// Reads one page. `tags: null` is what some registries say of a repository without tags; a missing `tags` is no page.
pub(super) fn read_page(body: &[u8]) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct Page {
        #[serde(deserialize_with = "required")]
        tags: Option<Vec<String>>,
    }
    fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
        Option::deserialize(deserializer)
    }
    serde_json::from_slice::<Page>(body).ok().map(|page| page.tags.unwrap_or_default())
}

/// Where the next page is, if there is one. `Err` says why the link is not followed.
pub(super) fn next_page(headers: &HeaderMap, current: &Url) -> Result<Option<Url>, String> {
    let mut links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let Some(target) = links.find_map(next_target) else {
        return Ok(None);
    };
    let shown = || clean(target);
    let next =
        current.join(target).map_err(|_| format!("the link to the next page is not a URL: {}", shown()))?;
    if next.origin() != current.origin() || !next.username().is_empty() || next.password().is_some() {
        return Err(format!("the next page is on another host: {}", shown()));
    }
    if next.path() != current.path() {
        return Err(format!("the next page is not of this list: {}", shown()));
    }
    Ok(Some(next))
}

/// `</v2/web/tags/list?last=b>; rel="next"`: the target of the first link of that kind.
fn next_target(header: &str) -> Option<&str> {
    let mut rest = header;
    while let Some((_, after)) = rest.split_once('<') {
        let (target, after) = after.split_once('>')?;
        let parameters = after.split('<').next().unwrap_or_default();
        let is_next = parameters.split([';', ',']).any(|parameter| {
            parameter.trim().split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel")
                    && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
            })
        });
        if is_next {
            return Some(target);
        }
        rest = after;
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a row that does not parse is the failure")]
mod tests {
    use super::*;

    fn check(link: &str, expected: Result<Option<&str>, &str>) {
        let current = Url::parse("https://r.test/v2/web/tags/list?n=2").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(LINK, link.parse().unwrap());
        match (next_page(&headers, &current), expected) {
            (Ok(next), Ok(expected)) => {
                assert_eq!(next.as_ref().map(Url::as_str), expected, "{link}");
            }
            (Err(why), Err(expected)) => assert!(why.contains(expected), "{link}: {why}"),
            (next, _) => assert!(expected.is_err() && next.is_err(), "{link}: {next:?}"),
        }
    }

    #[test]
    fn a_link_is_followed_only_to_the_same_list_on_the_same_host() {
        let next = "https://r.test/v2/web/tags/list?last=b";
        check(r#"</v2/web/tags/list?last=b>; rel="next""#, Ok(Some(next)));
        check("<?last=b>; rel=next", Ok(Some(next)));
        check(&format!("<{next}>; rel=\"next\""), Ok(Some(next)));
        check(r#"</a>; rel="prev", <?last=b>; rel="next""#, Ok(Some(next)));
        check(r#"</a>; rel="prev""#, Ok(None));
        check("nonsense", Ok(None));
        check("<https://evil.test/v2/web/tags/list>; rel=next", Err("another host"));
        check("<//evil.test/v2/web/tags/list>; rel=next", Err("another host"));
        check("<http://r.test/v2/web/tags/list>; rel=next", Err("another host"));
        check("<https://u:p@r.test/v2/web/tags/list>; rel=next", Err("another host"));
        check("</v2/other/tags/list>; rel=next", Err("not of this list"));
        check("<http://[>; rel=next", Err("not a URL"));
    }

    #[test]
    fn a_page_holds_tags_or_is_no_page() {
        let tags = |body: &str| read_page(body.as_bytes());
        assert_eq!(tags(r#"{"name": "web", "tags": ["1"]}"#), Some(vec!["1".to_owned()]));
        assert_eq!(tags(r#"{"name": "web", "tags": null}"#), Some(Vec::new()));
        assert_eq!(tags(r#"{"name": "web"}"#), None);
        assert_eq!(tags(r#"{"tags": [1]}"#), None);
        assert_eq!(tags(r#"{"tags": ["1""#), None);
    }
}
