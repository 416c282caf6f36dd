//! The page behind an approval's link: all that a person needs for a yes or a no.

use jiff::Timestamp;
use maud::{Markup, html};

use super::{fact, frame, guards, time};
use crate::domain::decision::{Guard, GuardVerdict};
use crate::domain::lane::{Answer, Approval, Settled, Via};
use crate::domain::policy::Expiry;

/// Most hosts that are named.
const HOSTS: usize = 50;

/// The question, and the form while it is open. `trouble` is what went wrong with an answer.
pub(in crate::web) fn question(
    approval: &Approval,
    now: Timestamp,
    trouble: Option<&str>,
) -> Markup {
    let asked = &approval.asked;
    let title = format!("Roll back {} in {}?", asked.service, asked.env);
    let open = approval.is_open() && now < asked.expires;
    let body = html! {
        h1 { (title) }
        @if let Some(trouble) = trouble { p.bad role="alert" { (trouble) } }
        @if open {
            p { "Looking at this page changes nothing." }
        } @else {
            p { strong { (outcome(approval)) } }
            @if let Some(incident) = &approval.used_by {
                p { "Done as incident " a href=(format!("/incidents/{incident}")) { (incident) } "." }
            }
        }
        (what(approval))
        @if open { (form(approval)) }
        h2 { "Guards, as they spoke when it was asked" }
        (guards(&asked.decision))
        p.note { "After a yes every guard is asked once more before anything is sent." }
    };
    frame(&title, &body)
}

fn what(approval: &Approval) -> Markup {
    let asked = &approval.asked;
    let silence = match asked.then {
        Expiry::Hold => "it stays held, and people are paged",
        Expiry::Rollback => "it is done all the same",
    };
    let named = asked.hosts.iter().take(HOSTS).map(AsRef::as_ref);
    let named: Vec<&str> = named.collect();
    let more = match asked.hosts.len().saturating_sub(named.len()) {
        0 => String::new(),
        rest => format!(" and {rest} more"),
    };
    let hosts = format!("{}: {}{more}", asked.hosts.len(), named.join(", "));
    let speaks =
        |verdict: &&GuardVerdict| matches!(verdict.guard, Guard::Verify | Guard::Attribution);
    let evidence = asked.decision.guards.iter().filter(speaks);
    html! {
        table {
            tbody {
                (fact("Take back", &format!("{} of {}", asked.scope, asked.release_id)))
                (fact("Back to", &asked.target))
                (fact("Hosts", &hosts))
                (fact("Deployment", &asked.deployment))
                (fact("Rule", &asked.rule))
                @for verdict in evidence {
                    (fact("Evidence", &verdict.outcome.reason()))
                }
                (fact("Asked", &time(Some(approval.asked_at))))
                (fact("Open until", &time(Some(asked.expires))))
                (fact("If nobody answers", &silence))
                (fact("Question", &approval.id))
            }
        }
    }
}

/// Nothing is chosen beforehand, so that no stray key answers.
fn form(approval: &Approval) -> Markup {
    let asked = &approval.asked;
    html! {
        h2 { "Your answer" }
        form method="post" autocomplete="off" {
            p { label {
                input type="radio" name="answer" value="approve" required;
                " Approve: take " (asked.scope) " of " (asked.release_id) " back to " (asked.target)
            } }
            p { label {
                input type="radio" name="answer" value="deny" required;
                " Deny: leave it; binds this deployment and rule until the denial is cleared"
            } }
            p { label { "Your name" br; input name="name" maxlength="100" required; } }
            p { label { "Reason" br; input name="reason" maxlength="1000" size="60" required; } }
            p { button { "Record the answer" } }
            p.note { "One answer counts, whoever gives it first. It is recorded with your name, this link's channel and your address." }
        }
    }
}

fn outcome(approval: &Approval) -> String {
    let at = time(approval.settled_at);
    match &approval.outcome {
        Settled::Open => "Its time is over: nobody answered.".to_owned(),
        Settled::Approved(answer) => said("Approved", answer, &at),
        Settled::Denied(answer) => said("Denied", answer, &at),
        Settled::Cleared(answer) => said("The denial was cleared", answer, &at),
        Settled::Expired => format!("Nobody answered in time ({at})."),
        Settled::Lapsed(why) => format!("There is nothing left to ask ({at}): {why}."),
        Settled::Replaced(by) => {
            format!("Asked anew as {by} ({at}): more would be taken back, or to another release.")
        }
    }
}

fn said(what: &str, answer: &Answer, at: &str) -> String {
    let via = match &answer.via {
        Via::Token => String::new(),
        Via::Link { channel, .. } => format!(", by the link sent to {channel}"),
    };
    format!("{what} by {}{via} ({at}): {}", answer.by, answer.reason)
}

/// A link that opens nothing.
pub(in crate::web) fn bad_link() -> Markup {
    let body = html! {
        h1 { "This link opens nothing" }
        p { "It was not made here, or is too old. Nothing was changed." }
        p { "What still waits for an answer: " code { "backstop rollback approvals" } }
    };
    frame("Bad link", &body)
}
