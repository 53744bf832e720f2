//! A runbook as prose, for a tired person without the tool.

use std::fmt::Write;

use crate::runbook::{Branch, Cause, Check, Reading, Runbook, Step};

/// The runbook as Markdown.
pub fn markdown(runbook: &Runbook) -> String {
    let mut page = format!("# {}\n\n", runbook.name);
    if !runbook.alerts.is_empty() {
        line(&mut page, &format!("Answers: {}\n", runbook.alerts.join(", ")));
    }
    line(&mut page, &format!("**You see:** {}\n", runbook.symptom.trim()));
    line(&mut page, &format!("**It means:** {}\n", runbook.meaning.trim()));
    line(
        &mut page,
        &format!("Let dsctl look first; it changes nothing: `dsctl runbook run {} --dry-run`\n", runbook.name),
    );
    page.push_str("## Find the cause\n\n");
    for (at, step) in runbook.steps.iter().enumerate() {
        line(&mut page, &step_text(runbook, at + 1, step));
    }
    if !runbook.causes.is_empty() {
        page.push_str("\n## Causes and what to do\n\n");
    }
    for cause in &runbook.causes {
        page.push_str(&cause_text(cause));
    }
    line(&mut page, &format!("## If it does not help\n\n{}", runbook.call.trim()));
    page
}

fn line(page: &mut String, text: &str) {
    // Writing to a String does not fail.
    let _ = writeln!(page, "{text}");
}

fn step_text(runbook: &Runbook, number: usize, step: &Step) -> String {
    let to = |branch: &Branch| branch_text(runbook, branch);
    format!(
        "{number}. {} ({})\n   - yes: {}\n   - no: {}",
        step.ask.trim(),
        check_text(&step.see),
        to(&step.yes),
        to(&step.no)
    )
}

fn branch_text(runbook: &Runbook, branch: &Branch) -> String {
    match branch {
        Branch::Step(name) => match runbook.steps.iter().position(|step| step.name == *name) {
            Some(at) => format!("go to {}", at + 1),
            None => format!("go to {name}"),
        },
        Branch::Cause(name) => format!("the cause is **{name}**"),
        Branch::NotThis(why) => format!("it is not this: {why}. Change nothing."),
    }
}

fn cause_text(cause: &Cause) -> String {
    let mut text = format!("### {}\n\n{}\n\n", cause.name, cause.meaning.trim());
    if let Some(by_hand) = &cause.by_hand {
        line(&mut text, &format!("- Do: {}", by_hand.trim()));
    }
    if let Some(remedy) = cause.remedy {
        line(&mut text, &format!("- Remedy: {remedy}"));
    }
    if let Some(verify) = &cause.verify {
        line(&mut text, &format!("- It helped if, within {}: {}", verify.within, check_text(&verify.see)));
    }
    if let Some(back) = &cause.back {
        line(&mut text, &format!("- The way back: {}", back.trim()));
    }
    text.push('\n');
    text
}

/// What is looked at, and where a person sees it.
fn check_text(check: &Check) -> String {
    match check {
        Check::Status(check) => {
            let states: Vec<&str> = check.is.iter().map(|state| state.as_str()).collect();
            format!("{} is {}; `dsctl status`", check.unit, states.join(" or "))
        }
        Check::Phase(check) => {
            let states: Vec<String> = check.is.iter().map(|state| format!("{state:?}").to_lowercase()).collect();
            format!("phase {} is {}; `dsctl status`", check.name.as_str(), states.join(" or "))
        }
        Check::Metric(check) => {
            let reading = match check.read {
                Reading::Value => "",
                Reading::Growth => "growth of ",
                Reading::Share => "share of ",
                Reading::P95 => "95th percentile of ",
            };
            let labels: Vec<String> =
                check.labels.iter().map(|(label, values)| format!("{label} {}", values.join(" or "))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!(" with {}", labels.join(", ")) };
            let window = check.window.map(|window| format!(" over {window}")).unwrap_or_default();
            let bound = match (check.above, check.below) {
                (Some(above), _) => format!("above {above}"),
                (None, Some(below)) => format!("below {below}"),
                (None, None) => String::new(),
            };
            format!("{reading}`{}`{labels}{window} is {bound}; the {}'s `/metrics`", check.name, check.source.as_str())
        }
        Check::Log(check) => {
            let texts: Vec<String> = check.says.iter().map(|text| format!("\"{text}\"")).collect();
            format!("the last lines of {} hold {}; `dsctl logs {}`", check.unit, texts.join(" or "), check.unit)
        }
        Check::FreeSpace(check) => format!("less than {} GiB are free; `df -h`", check.below_gib),
        Check::Rollout(check) => {
            let phases: Vec<&str> = check.phase.iter().map(|phase| phase.as_str()).collect();
            let verdict =
                check.verdict.map(|verdict| format!(" with verdict {}", verdict.as_str())).unwrap_or_default();
            format!("the rollout is {}{verdict}; `dsctl rollout status`", phases.join(" or "))
        }
        Check::Weights(check) => format!("weights are {:?}; `dsctl weights verify`", check.is).to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use crate::library::runbooks;

    use super::*;

    #[test]
    fn every_page_has_all_that_a_person_needs() {
        for runbook in runbooks().unwrap().all() {
            let page = markdown(runbook);
            for text in [&runbook.symptom, &runbook.meaning, &runbook.call] {
                assert!(page.contains(text.trim()), "{}: {text}", runbook.name);
            }
            for alert in &runbook.alerts {
                assert!(page.contains(alert), "{}: {alert}", runbook.name);
            }
            for cause in &runbook.causes {
                assert!(page.contains(&format!("the cause is **{}**", cause.name)), "{}: {}", runbook.name, cause.name);
                assert!(page.contains(&format!("### {}\n", cause.name)), "{}: {}", runbook.name, cause.name);
            }
        }
    }

    #[test]
    fn a_page_reads_as_prose() {
        let library = runbooks().unwrap();
        let page = markdown(library.find("agent-dead").unwrap());
        assert!(page.starts_with("# agent-dead\n\nAnswers: AgentDown\n\n**You see:** "), "{page}");
        let step = "1. Is the agent gone? (agent is dead; `dsctl status`)\n   - yes: the cause is **agent-gone**\n   - no: it is not this: ";
        assert!(page.contains(step), "{page}");
        assert!(page.contains("- It helped if, within 1m: agent is ready; `dsctl status`"), "{page}");
    }
}
