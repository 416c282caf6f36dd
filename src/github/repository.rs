//! Which repository a web page belongs to.

use std::fmt;

use url::Url;

/// A repository by owner and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Repository {
    /// A user or an organisation.
    pub owner: String,
    /// Its name.
    pub name: String,
}

impl Repository {
    /// The repository whose page is `page`, if it is on the GitHub whose API is `api`: the public
    /// one has its API on `api.github.com`, an Enterprise server on `HOST/api/v3` or, in the cloud,
    /// on `api.HOST`.
    pub fn of(page: &Url, api: &Url) -> Option<Self> {
        let (host, of_api) = (page.host_str()?, api.host_str()?);
        if host != of_api && Some(host) != of_api.strip_prefix("api.") {
            return None;
        }
        let mut parts = page.path_segments()?.filter(|part| !part.is_empty());
        let (owner, name) = (parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        Some(Self {
            owner: owner.to_owned(),
            name: name.strip_suffix(".git").unwrap_or(name).to_owned(),
        })
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(page: &str, api: &str) -> Option<String> {
        let repository = Repository::of(&page.parse().unwrap(), &api.parse().unwrap())?;
        Some(repository.to_string())
    }

    #[test]
    fn a_page_names_a_repository_of_its_own_github_only() {
        let public = "https://api.github.com";
        let told = of("https://github.com/shop/checkout", public);
        assert_eq!(told.as_deref(), Some("shop/checkout"));
        let told = of("https://github.com/shop/checkout.git/", public);
        assert_eq!(told.as_deref(), Some("shop/checkout"));
        let own = "https://git.example.com/api/v3";
        let told = of("https://git.example.com/shop/checkout", own);
        assert_eq!(told.as_deref(), Some("shop/checkout"));
        assert_eq!(of("https://gitlab.com/shop/checkout", public), None);
        assert_eq!(of("https://github.com/shop/checkout", own), None);
        assert_eq!(of("https://github.com/shop", public), None);
        assert_eq!(
            of("https://github.com/shop/checkout/tree/main", public),
            None
        );
    }
}
