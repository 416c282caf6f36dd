//! The page behind an approval's link: all that a person needs for a yes or a no.

use jiff::Timestamp;
use maud::{Markup, html};

use super::{fact, frame_in, guards, time};
use crate::config::channel::Locale;
use crate::domain::decision::{Guard, GuardVerdict};
use crate::domain::lane::{Answer, Approval, Settled, Via};
use crate::domain::policy::Expiry;

/// Most hosts that are named.
const HOSTS: usize = 50;

/// What went wrong with an answer.
#[derive(Debug, Clone, Copy)]
pub(in crate::web) enum Trouble {
    /// Choice, name or reason is missing.
    Incomplete,
    /// Somebody, or the clock, was quicker.
    Late,
}

impl Trouble {
    fn words(self, locale: Locale) -> &'static str {
        match self {
            Self::Incomplete => say(
                locale,
                "Nothing was recorded: choose an answer, and give your name and a reason.",
                "未记录任何答复：请选择批准或拒绝，并填写姓名和理由。",
            ),
            Self::Late => say(
                locale,
                "Your answer was not recorded: the question had been settled before.",
                "您的答复未被记录：该问题此前已有结论。",
            ),
        }
    }
}

fn say<'a>(locale: Locale, en: &'a str, zh: &'a str) -> &'a str {
    match locale {
        Locale::En => en,
        Locale::ZhCn => zh,
    }
}

/// The question, and the form while it is open. `trouble` is what went wrong with an answer.
pub(in crate::web) fn question(
    approval: &Approval,
    now: Timestamp,
    trouble: Option<Trouble>,
    locale: Locale,
) -> Markup {
    let asked = &approval.asked;
    let say = |en, zh| say(locale, en, zh);
    let title = match locale {
        Locale::En => format!("Roll back {} in {}?", asked.service, asked.env),
        Locale::ZhCn => format!("是否回滚 {}（{}）？", asked.service, asked.env),
    };
    let open = approval.is_open() && now < asked.expires;
    let body = html! {
        h1 { (title) }
        @if let Some(trouble) = trouble { p.bad role="alert" { (trouble.words(locale)) } }
        @if open {
            p { (say("Looking at this page changes nothing.", "查看本页不会产生任何操作。")) }
        } @else {
            p { strong { (outcome(approval, locale)) } }
            @if let Some(incident) = &approval.used_by {
                p { (say("Done as incident ", "已作为事件执行：")) a href=(format!("/incidents/{incident}")) { (incident) } }
            }
        }
        (what(approval, locale))
        @if open { (form(approval, locale)) }
        h2 { (say("Guards, as they spoke when it was asked", "提问时各守卫条件的结论")) }
        (guards(&asked.decision))
        p.note { (say("After a yes every guard is asked once more before anything is sent.", "批准后，发送前会再次检查全部守卫条件。")) }
    };
    frame_in(locale, &title, &body)
}

fn what(approval: &Approval, locale: Locale) -> Markup {
    let asked = &approval.asked;
    let say = |en, zh| say(locale, en, zh);
    let silence = match asked.then {
        Expiry::Hold => say(
            "it stays held, and people are paged",
            "继续暂停，并通知值班人员",
        ),
        Expiry::Rollback => say("it is done all the same", "照常执行回滚"),
    };
    let named = asked.hosts.iter().take(HOSTS).map(AsRef::as_ref);
    let named: Vec<&str> = named.collect();
    let more = match asked.hosts.len().saturating_sub(named.len()) {
        0 => String::new(),
        rest => format!(" +{rest}"),
    };
    let hosts = format!("{}: {}{more}", asked.hosts.len(), named.join(", "));
    let speaks =
        |verdict: &&GuardVerdict| matches!(verdict.guard, Guard::Verify | Guard::Attribution);
    let evidence = asked.decision.guards.iter().filter(speaks);
    html! {
        table {
            tbody {
                (fact(say("Take back", "回滚范围"), &of(approval, locale)))
                (fact(say("Back to", "回滚到"), &asked.target))
                (fact(say("Hosts", "主机"), &hosts))
                (fact(say("Deployment", "部署"), &asked.deployment))
                (fact(say("Rule", "规则"), &asked.rule))
                @for verdict in evidence {
                    (fact(say("Evidence", "证据"), &verdict.outcome.reason()))
                }
                (fact(say("Asked", "提问时间"), &time(Some(approval.asked_at))))
                (fact(say("Open until", "有效期至"), &time(Some(asked.expires))))
                (fact(say("If nobody answers", "逾期无人答复"), &silence))
                (fact(say("Question", "问题编号"), &approval.id))
            }
        }
    }
}

/// Nothing is chosen beforehand, so that no stray key answers.
fn form(approval: &Approval, locale: Locale) -> Markup {
    let asked = &approval.asked;
    let say = |en, zh| say(locale, en, zh);
    html! {
        h2 { (say("Your answer", "您的答复")) }
        form method="post" autocomplete="off" {
            p { label {
                input type="radio" name="answer" value="approve" required;
                (say(" Approve: take ", " 批准：将 ")) (of(approval, locale)) (say(" back to ", " 回滚到 ")) (asked.target)
            } }
            p { label {
                input type="radio" name="answer" value="deny" required;
                (say(
                    " Deny: leave it; binds this deployment and rule until the denial is cleared",
                    " 拒绝：保持现状；在撤销拒绝之前，对该部署和规则一直有效",
                ))
            } }
            p { label { (say("Your name", "您的姓名")) br; input name="name" maxlength="100" required; } }
            p { label { (say("Reason", "理由")) br; input name="reason" maxlength="1000" size="60" required; } }
            p { button { (say("Record the answer", "提交答复")) } }
            p.note { (say(
                "One answer counts, whoever gives it first. It is recorded with your name, this link's channel and your address.",
                "只有最先提交的一个答复有效。您的姓名、该链接所属渠道和您的地址会被记录。",
            )) }
        }
    }
}

/// What is taken back: how much of which release.
fn of(approval: &Approval, locale: Locale) -> String {
    let (scope, release) = (approval.asked.scope.to_string(), &approval.asked.release_id);
    match (locale, scope.strip_prefix("batch ")) {
        (Locale::En, _) => format!("{scope} of {release}"),
        (Locale::ZhCn, Some(batches)) => format!("{release} 的批次 {batches}"),
        (Locale::ZhCn, None) => format!("{release} 全量"),
    }
}

fn outcome(approval: &Approval, locale: Locale) -> String {
    let at = time(approval.settled_at);
    let say = |en, zh| say(locale, en, zh);
    match &approval.outcome {
        Settled::Open => say("Its time is over: nobody answered.", "已过期：无人答复。").to_owned(),
        Settled::Approved(answer) => said(say("Approved by", "已批准："), answer, &at, locale),
        Settled::Denied(answer) => said(say("Denied by", "已拒绝："), answer, &at, locale),
        Settled::Cleared(answer) => {
            let words = say("The denial was cleared by", "拒绝已撤销：");
            said(words, answer, &at, locale)
        }
        Settled::Expired => format!("{} ({at})", say("Nobody answered in time", "逾期无人答复")),
        Settled::Lapsed(why) => {
            let words = say("There is nothing left to ask", "已无需答复");
            format!("{words} ({at}): {why}.")
        }
        Settled::Replaced(by) => {
            let words = say(
                "More would be taken back, or to another release: asked anew as",
                "回滚范围或目标版本已变化，已重新提问：",
            );
            format!("{words} {by} ({at})")
        }
    }
}

fn said(what: &str, answer: &Answer, at: &str, locale: Locale) -> String {
    let via = match (&answer.via, locale) {
        (Via::Token, _) => String::new(),
        (Via::Link { channel, .. }, Locale::En) => format!(", by the link sent to {channel}"),
        (Via::Link { channel, .. }, Locale::ZhCn) => format!("，通过发送到 {channel} 的链接"),
    };
    format!("{what} {}{via} ({at}): {}", answer.by, answer.reason)
}

/// A link that opens nothing.
pub(in crate::web) fn bad_link(locale: Locale) -> Markup {
    let say = |en, zh| say(locale, en, zh);
    let body = html! {
        h1 { (say("This link opens nothing", "链接无效")) }
        p { (say(
            "It was not made here, or is too old. Nothing was changed.",
            "该链接不是由本系统生成，或已过期。未做任何更改。",
        )) }
        p { (say("What still waits for an answer: ", "查看仍待答复的问题：")) code { "backstop rollback approvals" } }
    };
    frame_in(locale, say("Bad link", "链接无效"), &body)
}
