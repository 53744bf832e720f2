//! The command line of dsgate.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::tls::CertificateFiles;

/// Split OpenAI API traffic between two upstreams, and carry the rollout from one to the other.
#[derive(Debug, Clone, Parser)]
#[command(name = "dsgate", version, about)]
pub struct Args {
    /// The configuration file (JSON); read again on SIGHUP
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,

    /// Folder for the route table and the rollout journal
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,

    /// Certificate for clients (PEM, its chain after it): TLS 1.3 only, in place of plain HTTP; exchanged when the file changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_certificate: Option<PathBuf>,

    /// The certificate's key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub tls_key: Option<PathBuf>,

    /// How log lines are written to stderr
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

impl Args {
    pub fn certificate(&self) -> Option<CertificateFiles> {
        let (certificate, key) = self.tls_certificate.clone().zip(self.tls_key.clone())?;
        Some(CertificateFiles { certificate, key })
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}
