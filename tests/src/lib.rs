//! What the end-to-end tests are made of: a laboratory of network namespaces ([`namespace`]), the daemon in it ([`daemon`]),
//! traffic whose every packet is known ([`frames`], [`lab`], [`inject`], [`live`]), real collectors ([`counterpart`]) and the
//! tests' own ([`ipfix`] over UDP, [`stream`] over TCP, which can be slow or killed, [`relayed`] for what came from others),
//! exporters whose every record is known ([`exporting`]) and a daemon that hears them ([`listening`]), and the comparison of
//! what was sent with what was reported ([`truth`]). What a terminal shows is read by [`terminal`]. What depends on the
//! running kernel is in [`kernel`]. [`accuracy`] puts these together for traffic of millions of packets a second, whose truth
//! is counted where it arrives, and for faults that are injected meanwhile.
//!
//! What the daemon serves over HTTP is asked for from inside a namespace ([`http`]), also by programs that do so for a living
//! ([`browser`], and Prometheus among the counterparts, both told what to do through [`rest`]); [`pages`] is what holds on each page.
//! [`trouble`] is there to be found.
//!
//! Whatever a test starts is undone by a guard that drops, also when the test fails. A test that cannot run here says so
//! ([`skip`]).

pub mod accuracy;
pub mod barrage;
pub mod browser;
pub mod captures;
pub mod certificates;
pub mod counterpart;
pub mod daemon;
pub mod disk;
pub mod exporting;
pub mod fragments;
pub mod frames;
pub mod history;
pub mod http;
pub mod inject;
pub mod ipfix;
pub mod kernel;
pub mod knowledge;
pub mod lab;
pub mod listening;
pub mod live;
pub mod namespace;
pub mod pages;
pub mod process;
pub mod relayed;
pub mod resources;
pub mod rest;
pub mod scenario;
pub mod second_reading;
pub mod skip;
pub mod stream;
pub mod terminal;
pub mod trouble;
pub mod truth;
