//! Alerts for the eye: what fires with what to do about it, then what does not, in a line.

use console::Style;
use spec::alert::Severity;

use super::table;
use crate::commands::alerts::AlertReport;
use crate::judge::{AlertState, Judgement, Measured};

pub fn alerts(report: &AlertReport) -> String {
    let of = |state| report.alerts.iter().filter(move |judgement| judgement.state == state);
    let firing: Vec<&Judgement> = of(AlertState::Firing).collect();
    let mut text = match firing.len() {
        0 => format!("{}  nothing fires", report.deployment),
        1 => format!("{}  1 alert fires\n\n{}", report.deployment, rows(&firing)),
        count => format!("{}  {count} alerts fire\n\n{}", report.deployment, rows(&firing)),
    };
    let details = firing.iter().flat_map(|judgement| &judgement.measured).filter_map(|it| it.detail.as_ref());
    details.for_each(|detail| text.push_str(&format!("\n  {detail}")));
    text.push_str(&format!("\n\nlooked twice, {} apart", report.interval));
    for (state, words) in
        [(AlertState::Quiet, "below their bounds"), (AlertState::NoData, "no data (nothing came, or it is not there)")]
    {
        let names: Vec<&str> = of(state).map(|judgement| judgement.alert).collect();
        if !names.is_empty() {
            text.push_str(&format!("\n{words}: {}", names.join(", ")));
        }
    }
    if let Some(first) = firing.first() {
        let name = Some(&report.deployment).filter(|name| name.as_str() != "default");
        let next = crate::talk::with_name(&format!("dsctl runbook run --alert {}", first.alert), name);
        text.push_str(&format!("\n\nnext: {next}"));
    }
    text
}

fn rows(firing: &[&Judgement]) -> String {
    let mut rows = vec![["ALERT", "SEVERITY", "OF", "VALUE", "BOUND", "RUNBOOK"].map(str::to_owned).to_vec()];
    for judgement in firing {
        rows.extend(judgement.measured.iter().filter(|it| it.is_over).map(|it| row(judgement, it)));
    }
    table(&rows)
}

fn row(judgement: &Judgement, it: &Measured) -> Vec<String> {
    let severity = match judgement.severity {
        Severity::Page => Style::new().red(),
        Severity::Ticket => Style::new().yellow(),
    };
    vec![
        judgement.alert.to_owned(),
        severity.apply_to(judgement.severity.as_str()).to_string(),
        if it.of.is_empty() { "-".to_owned() } else { it.of.clone() },
        number(it.value),
        format!("{} {}", judgement.comparison, number(judgement.bound)),
        judgement.runbook.to_owned(),
    ]
}

/// As few places as tell it.
pub fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use spec::amount::Span;

    use super::*;

    fn judgement(alert: &'static str, state: AlertState) -> Judgement {
        let measured =
            Measured { of: "dsserve".to_owned(), value: 0.0, is_over: state == AlertState::Firing, detail: None };
        Judgement {
            alert,
            severity: Severity::Page,
            runbook: "daemon-not-ready",
            state,
            comparison: "==",
            bound: 0.0,
            lasts: Span::seconds(60),
            measured: vec![Measured { detail: Some("http://h: refused".to_owned()), ..measured }],
        }
    }

    fn shown(name: &str, alerts: Vec<Judgement>) -> String {
        let report = AlertReport { deployment: name.parse().unwrap(), interval: Span::seconds(15), alerts };
        console::strip_ansi_codes(&super::alerts(&report)).into_owned()
    }

    #[test]
    fn what_fires_names_its_runbook_and_the_next_command() {
        let text = shown(
            "trial",
            vec![judgement("DaemonDown", AlertState::Firing), judgement("KvCacheFull", AlertState::Quiet)],
        );
        for part in [
            "trial  1 alert fires\n",
            "DaemonDown  page      dsserve  0      == 0   daemon-not-ready\n  http://h: refused\n",
            "looked twice, 15s apart\nbelow their bounds: KvCacheFull",
            "next: dsctl runbook run --name trial --alert DaemonDown",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
    }

    #[test]
    fn silence_is_said_too() {
        let text = shown("default", vec![judgement("KvCacheFull", AlertState::NoData)]);
        assert!(
            text.starts_with("default  nothing fires\n") && text.contains("no data") && !text.contains("next:"),
            "{text}"
        );
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.05, 15.0, 0.0, 0.333_333].map(number), ["0.05", "15", "0", "0.333"]);
    }
}
