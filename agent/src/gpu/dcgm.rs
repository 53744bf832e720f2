//! Who exports the GPUs: dcgm-exporter where it runs, since it knows more; else the agent, under the same names.

use std::time::Duration;

use super::GpuReading;

/// Where dcgm-exporter listens unless it is told otherwise.
pub const DCGM_EXPORTER: &str = "http://127.0.0.1:9400/metrics";

/// It answers from memory: a late answer is none.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exporter {
    Agent,
    /// Two series of one name from one host would count every GPU twice.
    DcgmExporter,
}

/// Asked at each scrape, so that a dcgm-exporter that dies is stood in for.
pub async fn exporter(client: &reqwest::Client, url: &str, readings: &[GpuReading]) -> Exporter {
    if readings.is_empty() {
        return Exporter::Agent;
    }
    let page = async {
        let answer = client.get(url).timeout(ANSWER_LIMIT).send().await?.error_for_status()?;
        answer.text().await
    };
    who(page.await.ok().as_deref())
}

/// Something else may listen there, or an exporter that sees no GPU.
fn who(page: Option<&str>) -> Exporter {
    let has_gpu = |page: &str| page.lines().any(|line| line.starts_with("DCGM_FI_DEV_"));
    if page.is_some_and(has_gpu) { Exporter::DcgmExporter } else { Exporter::Agent }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_exporter_that_shows_a_gpu_stands_in() {
        let shown = "# TYPE DCGM_FI_DEV_GPU_UTIL gauge\nDCGM_FI_DEV_GPU_UTIL{gpu=\"0\"} 1\n";
        assert_eq!(who(Some(shown)), Exporter::DcgmExporter);
        for page in [None, Some(""), Some("# HELP DCGM_FI_DEV_GPU_UTIL x\n"), Some("node_load1 1\n")] {
            assert_eq!(who(page), Exporter::Agent, "{page:?}");
        }
    }
}
