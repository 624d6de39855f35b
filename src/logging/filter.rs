//! Which records are wanted: a level, and others for parts of the program.

use tracing::Metadata;
use tracing::level_filters::LevelFilter;

/// A level for everything, and others for places that begin so.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    level: LevelFilter,
    places: Vec<(String, LevelFilter)>,
}

impl Filter {
    /// This level everywhere.
    #[must_use]
    pub fn at(level: LevelFilter) -> Self {
        Self { level, places: Vec::new() }
    }

    /// Reads `info`, or `info,skykoi_gateway::store=trace`. Parts that make no sense are passed over; nothing that makes sense is `None`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut found = None;
        let mut places = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some((place, level)) => places.extend(level.parse().ok().map(|level| (place.to_owned(), level))),
                None => found = part.parse().ok().or(found),
            }
        }
        if found.is_none() && places.is_empty() {
            return None;
        }
        // The longest beginning decides.
        places.sort_by_key(|(place, _)| std::cmp::Reverse(place.len()));
        Some(Self { level: found.unwrap_or(LevelFilter::ERROR), places })
    }

    /// Whether a record of this place is wanted.
    #[must_use]
    pub fn lets_through(&self, metadata: &Metadata<'_>) -> bool {
        let own = self.places.iter().find(|(place, _)| metadata.target().starts_with(place.as_str()));
        *metadata.level() <= own.map_or(self.level, |(_, level)| *level)
    }

    /// The most talkative level of any place.
    #[must_use]
    pub fn most(&self) -> LevelFilter {
        self.places.iter().map(|(_, level)| *level).fold(self.level, LevelFilter::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_as_people_write_it() {
        let filter = Filter::parse("warn, a::b=debug,a=trace,x=nonsense").unwrap();
        assert_eq!(filter.level, LevelFilter::WARN);
        assert_eq!(filter.places, [("a::b".to_owned(), LevelFilter::DEBUG), ("a".to_owned(), LevelFilter::TRACE)]);
        assert_eq!(filter.most(), LevelFilter::TRACE);
        assert_eq!(Filter::parse("off").unwrap(), Filter::at(LevelFilter::OFF));
        assert_eq!(Filter::parse(""), None);
        assert_eq!(Filter::parse("loud"), None);
    }
}
