//! Pages of a list, by the query parameters `page` and `page_size`.
//!
//! The provider does not say how pages are counted, nor what the limits are. Here the first page is 1, as in its
//! search for letters. Without both parameters the response has all elements, because a client that does not
//! know of pages would otherwise miss some. With `page` alone a page has 100 elements.

use http::Uri;
use url::form_urlencoded;

const DEFAULT_SIZE: u64 = 100;
const MAX_SIZE: u64 = 1_000;

/// The requested part of a list.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::sandbox) enum Page {
    All,
    Part { skip: u64, take: u64 },
}

impl Page {
    /// # Errors
    /// A sentence that says which parameter is wrong.
    pub(in crate::sandbox) fn parse(uri: &Uri) -> Result<Self, String> {
        let number = parameter(uri, "page", u64::MAX)?;
        let size = parameter(uri, "page_size", MAX_SIZE)?;
        if number.is_none() && size.is_none() {
            return Ok(Self::All);
        }
        let take = size.unwrap_or(DEFAULT_SIZE);
        Ok(Self::Part { skip: (number.unwrap_or(1) - 1).saturating_mul(take), take })
    }

    /// Returns the elements of the page. A page after the last one is empty.
    pub(in crate::sandbox) fn of<T>(&self, list: Vec<T>) -> Vec<T> {
        match *self {
            Self::All => list,
            Self::Part { skip, take } => {
                let whole = |number| usize::try_from(number).unwrap_or(usize::MAX);
                list.into_iter().skip(whole(skip)).take(whole(take)).collect()
            }
        }
    }
}

fn parameter(uri: &Uri, name: &str, most: u64) -> Result<Option<u64>, String> {
    let query = uri.query().unwrap_or_default();
    let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
    let Some((_, value)) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(format!("{name} occurs more than once in the query string"));
    }
    match value.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(Some(number)),
        _ if most == u64::MAX => Err(format!("{name} must be a whole number from 1")),
        _ => Err(format!("{name} must be a whole number from 1 to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str) -> Result<Page, String> {
        Page::parse(&format!("/v0/bank/credentials/data?{query}").parse().unwrap())
    }

    #[test]
    fn pages_are_counted_from_one_and_partition_the_list() {
        assert_eq!(page("").unwrap(), Page::All);
        assert_eq!(page("page=2").unwrap(), Page::Part { skip: 100, take: 100 });
        assert_eq!(page("page_size=7").unwrap(), Page::Part { skip: 0, take: 7 });
        let list: Vec<_> = (0..10).collect();
        let parts = (1..=4).map(|number| page(&format!("page={number}&page_size=3")).unwrap().of(list.clone()));
        assert_eq!(parts.collect::<Vec<_>>().concat(), list);
        assert_eq!(page(&format!("page={}&page_size=1000", u64::MAX)).unwrap().of(list), Vec::<i32>::new());
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        for query in ["page=0", "page=-1", "page=x", "page=", "page=1.5", "page=1&page=2", "page=99999999999999999999"]
        {
            assert!(page(query).unwrap_err().starts_with("page "), "{query}");
        }
        for query in ["page_size=0", "page_size=1001", "page=1&page_size="] {
            assert_eq!(page(query).unwrap_err(), "page_size must be a whole number from 1 to 1000", "{query}");
        }
    }
}
