//! One file a command.

pub mod agent;
pub mod alerts;
pub mod audit;
pub mod chaos;
pub mod down;
pub mod drift;
pub mod forget;
pub mod gpus;
pub mod host;
pub mod incident;
pub mod init;
pub mod keys;
pub mod logs;
pub mod models;
pub mod orphans;
pub mod plan;
pub mod rollout;
pub mod runbook;
pub mod status;
pub mod top;
pub mod unlock;
pub mod up;
pub mod weights;
