//! The whole program on one machine, from outside: real processes on free ports, the real model, real HTTP.
//!
//! One binary, so that the programs are built and the model is fetched once. Deployments run one at a time; everything
//! else runs beside them.

#![cfg(test)]

mod alerts;
mod audit;
mod bad_input;
mod bad_requests;
mod chain;
mod changes;
mod client_away;
mod contracts;
mod encrypted;
mod examples;
mod fetching;
mod first_minute;
mod guards;
mod host;
mod interrupted;
mod keys;
mod kills;
mod memory;
mod monitoring;
mod openai_client;
mod pages;
mod refusals;
mod rollout_crash;
mod rollout_failing;
mod rollout_healthy;
mod rollout_moves;
mod routing;
mod runbooks;
mod saved_plan;
mod words;
