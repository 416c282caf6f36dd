//! The gateway's face: listener, authentication, routes, pages.
//!
//! Knows no other stage: everything it serves comes from a [`Gateway`], which the app implements.
//! What begins here is finished even if the sender goes away; what can't be promised is refused.

mod access;
pub mod api;
mod body;
mod connection;
mod error;
mod logins;
mod pages;
mod routes;
pub mod server;
pub mod signed;
mod site;
mod tls;

pub use access::{Access, Caller};
pub use api::Gateway;
pub use error::ApiError;
pub use routes::{openapi, router};
pub use server::{ServerSettings, serve};
pub use site::{Site, SiteSettings};
pub use tls::{Tls, TlsError};
