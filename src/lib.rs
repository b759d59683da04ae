//! Serin: a progressive-delivery traffic proxy.
pub mod admin;
pub mod analysis;
pub mod cli;
pub mod compile;
pub mod config;
pub mod control;
pub mod demo;
pub mod head;
pub mod live;
pub mod measure;
pub mod name;
pub mod files;
mod proxy;
pub mod rollout;
pub mod route;
pub mod server;
pub mod share;
