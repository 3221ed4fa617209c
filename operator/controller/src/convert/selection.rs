//! `spec.image.select`, `variant` and `tags` → core's rule, variants and filter. `rollforward resolve` reads the same objects.

use rollforward_api::policy::{Direction, ImageSource, Level, Select, Tags, Variant, VariantMode};
use rollforward_core::image::{Repository, Tag};
use rollforward_core::select::{self, FilterError, Rule, TagFilter};
use rollforward_core::text::clean;
use rollforward_core::version::calver::Format;
use rollforward_core::version::range::Range;

use super::policy::Faults;

/// The rule, and its text for sentences; `Patch` without one.
pub fn rule(select: Option<&Select>, faults: &mut Faults) -> (Rule, String) {
    let patch = (Rule::Level(select::Level::Patch), "Patch".to_owned());
    let Some(select) = select else { return patch };
    let Select { level, semver, calver, numeric, lexical, digest } = select;
    let rules = [
        level.map(|level| level_rule(level, faults)),
        semver.as_ref().and_then(|semver| {
            let range = Range::parse(&semver.range);
            let range = told(range, "spec.image.select.semver.range", faults)?;
            Some((Rule::Semver(range), clean(&semver.range, 100)))
        }),
        calver.as_ref().and_then(|calver| {
            let format = told(Format::parse(&calver.format), "spec.image.select.calver.format", faults)?;
            Some((Rule::Calver(format), clean(&calver.format, 100)))
        }),
        numeric.as_ref().map(|numeric| {
            let order = numeric.order.unwrap_or(Direction::Ascending);
            let order = direction(order, "spec.image.select.numeric.order", faults);
            (Rule::Numeric(order), format!("numeric {order:?}"))
        }),
        lexical.as_ref().map(|lexical| {
            let order = direction(lexical.order, "spec.image.select.lexical.order", faults);
            (Rule::Lexical(order), format!("lexical {order:?}"))
        }),
        digest.as_ref().and_then(|digest| {
            let tag = told(Tag::parse(&digest.tag), "spec.image.select.digest.tag", faults)?;
            let text = format!("digest of {tag}");
            Some((Rule::Digest(tag), text))
        }),
    ];
    let written = [
        level.is_some(),
        semver.is_some(),
        calver.is_some(),
        numeric.is_some(),
        lexical.is_some(),
        digest.is_some(),
    ];
    if written.iter().filter(|written| **written).count() != 1 {
        let message = "expected exactly one of level, semver, calver, numeric, lexical and digest";
        faults.invalid("spec.image.select", message);
    }
    rules.into_iter().flatten().next().unwrap_or(patch)
}

/// Where tags are listed and digests judged.
pub fn source(source: &ImageSource, faults: &mut Faults) -> Option<Repository> {
    told(Repository::parse(&source.repository), "spec.image.source.repository", faults)
}

/// The value, or a fault with the field's path.
fn told<T, E: std::fmt::Display>(
    result: Result<T, E>,
    field: &'static str,
    faults: &mut Faults,
) -> Option<T> {
    result.map_err(|error| faults.invalid(field, error.to_string())).ok()
}

fn level_rule(level: Level, faults: &mut Faults) -> (Rule, String) {
    let level = match level {
        Level::Patch => select::Level::Patch,
        Level::Minor => select::Level::Minor,
        Level::Major => select::Level::Major,
        Level::Newer => {
            faults.newer("spec.image.select.level");
            select::Level::Patch
        }
    };
    (Rule::Level(level), format!("{level:?}"))
}

fn direction(direction: Direction, field: &'static str, faults: &mut Faults) -> select::Direction {
    match direction {
        Direction::Ascending => select::Direction::Ascending,
        Direction::Descending => select::Direction::Descending,
        Direction::Newer => {
            faults.newer(field);
            select::Direction::Ascending
        }
    }
}

/// Which variants count; `Keep` without a word.
pub fn variant(variant: Option<&Variant>, faults: &mut Faults) -> select::VariantMode {
    let Some(Variant { mode, pattern }) = variant else {
        return select::VariantMode::Keep;
    };
    match (mode, pattern) {
        (VariantMode::Keep, None) => select::VariantMode::Keep,
        (VariantMode::Any, None) => select::VariantMode::Any,
        (VariantMode::Pattern, Some(pattern)) => {
            let read = select::VariantMode::pattern(pattern);
            told(read, "spec.image.variant.pattern", faults).unwrap_or(select::VariantMode::Keep)
        }
        (VariantMode::Keep | VariantMode::Any, Some(_)) | (VariantMode::Pattern, None) => {
            faults
                .invalid("spec.image.variant", "expected pattern with mode Pattern, and with no other mode");
            select::VariantMode::Keep
        }
        (VariantMode::Newer, _) => {
            faults.newer("spec.image.variant.mode");
            select::VariantMode::Keep
        }
    }
}

/// Which tags count, and what of them is ordered.
pub fn filter(tags: Option<&Tags>, faults: &mut Faults) -> TagFilter {
    let Some(Tags { include, exclude, extract }) = tags else {
        return TagFilter::default();
    };
    let read: Result<TagFilter, FilterError> =
        TagFilter::parse(include.as_deref(), exclude.as_deref(), extract.as_deref());
    told(read, "spec.image.tags", faults).unwrap_or_default()
}
