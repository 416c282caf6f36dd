//! The fixed words of messages, in English and Simplified Chinese.
//!
//! A word missing in a language does not compile. Templates see them as `w.<name>`.

use serde::Serialize;

use crate::config::channel::Locale;

macro_rules! words {
    ($($name:ident: $en:literal, $zh:literal;)*) => {
        /// Every fixed word of a message.
        #[derive(Debug, Serialize)]
        #[expect(missing_docs, reason = "the English word beside each name says it")]
        pub struct Words { $(pub $name: &'static str,)* }

        static EN: Words = Words { $($name: $en,)* };
        static ZH_CN: Words = Words { $($name: $zh,)* };
    };
}

words! {
    // States and kinds, as headlines begin.
    firing: "FIRING", "告警触发";
    resolved: "RESOLVED", "告警恢复";
    hold_page: "A PERSON IS NEEDED", "需要人工处理";
    approval_wanted: "APPROVAL WANTED", "等待人工批准";
    approval_settled: "APPROVAL", "批准结果";
    rollback_started: "ROLLBACK STARTED", "回滚已开始";
    rollback_finished: "ROLLBACK FINISHED", "回滚已结束";
    rollback_undone: "ROLLBACK FAILED", "回滚失败";
    recovery: "RECOVERY", "恢复情况";
    recovery_good: "RECOVERY: WELL AGAIN", "恢复情况：已恢复";
    recovery_bad: "RECOVERY: STILL BAD", "恢复情况：仍异常";
    recovery_untold: "RECOVERY: NOT KNOWN", "恢复情况：无法确认";
    report: "REPORT", "报告";
    own_trouble: "BACKSTOP HAS TROUBLE", "Backstop 自身故障";
    digest: "DIGEST", "告警汇总";
    shadow_tag: "SHADOW", "影子模式";
    // Subjects of what Backstop itself begins.
    waits_long: "a rollback has been waiting for long", "有回滚等待已久";
    wait_decided: "a waiting rollback was decided", "等待中的回滚已有结论";
    asks: "roll back?", "是否回滚？";
    approved: "approved", "已批准";
    denied: "denied", "已拒绝";
    unanswered_held: "nobody answered, it stays held", "无人答复，继续暂停";
    unanswered_done: "nobody answered, it is done", "无人答复，按规则执行";
    channel_refuses: "a channel refuses messages", "有渠道拒收消息";
    self_test_lost: "the self-test does not come through", "自检未能走通";
    self_test_back: "the self-test comes through again", "自检已恢复";
    bad_is_back: "a bad release is back", "有问题的版本再次上线";
    budget_spent: "more services want a rollback than the budget allows", "需要回滚的服务超出自动回滚限额";
    vendor_shut: "a vendor shut a channel for minutes", "渠道被服务商临时限制";
    // What happened to an incident.
    attempt: "attempt {n}", "第 {n} 次尝试";
    revision: "revision {n}", "第 {n} 版";
    recovered: "well again", "指标已恢复正常";
    still_bad: "still bad", "指标仍然异常";
    unverified: "nothing can say whether it helped", "无法确认是否恢复";
    cant_stop: "the accused deployment does not stop, so nothing is rolled back yet", "问题部署无法停止，尚未开始回滚";
    spinnaker_away: "Spinnaker can't be asked, or the rollback pipeline is missing", "无法访问 Spinnaker，或缺少回滚流水线";
    sent_unknown: "nobody can tell whether Spinnaker has the rollback", "无法确认 Spinnaker 是否已收到回滚请求";
    held_long: "guards have held it for long", "守卫条件已阻止较长时间";
    withdrawn: "withdrawn before anything was sent", "发送前已撤回，未执行任何操作";
    not_sent: "it could not be sent", "未能发送回滚请求";
    still_running: "the rollback runs unusually long", "回滚执行时间异常长";
    waits_for_people: "the rollback goes no further by itself", "回滚停滞，不会自行继续";
    unchecked: "it ended well, but nobody can tell whether it changed anything", "执行已成功结束，但无法确认是否生效";
    rollback_failed: "the rollback failed", "回滚失败";
    not_recovered: "rolled back, and not known to be well again", "已回滚，但未确认恢复";
    person_must: "a person must agree until {until}, {then}; without the link: backstop rollback approve {id} --reason TEXT", "需在 {until} 前人工批准，{then}；若无链接可执行：backstop rollback approve {id} --reason 原因";
    then_held: "then it stays held", "逾期则继续暂停";
    then_done: "then it is done all the same", "逾期则照常执行";
    between_details: ": ", "：";
    // Row labels.
    severity: "Severity", "级别";
    service: "Service", "服务";
    release: "Release", "版本";
    version: "version", "版本号";
    deployment: "Deployment", "部署";
    batch: "Batch", "批次";
    phase: "Phase", "阶段";
    hosts: "Hosts", "主机";
    metric: "Metric", "异常指标";
    value_now: "Value now", "当前值";
    threshold: "Threshold", "阈值";
    chart: "Chart", "图表";
    decision: "Decision", "处置";
    why: "Why", "原因";
    rule: "Rule", "规则";
    target: "Back to", "回滚到";
    suspects: "Deployed shortly before, too", "此前不久也有部署";
    incident: "Incident", "事件";
    execution: "Execution", "执行";
    status: "Status", "状态";
    detail: "Detail", "详情";
    at: "At", "时间";
    since: "since", "开始于";
    stale: "Catalog", "目录数据";
    alerts: "Alerts", "告警列表";
    links: "Links", "链接";
    approve_or_deny: "Approve or deny", "批准或拒绝";
    merged: "Messages merged", "合并消息";
    reference: "Ref", "参考";
    // Values.
    canary: "canary", "金丝雀";
    between: "between last batch and soaked", "末批之后、观察期内";
    full: "full", "全量";
    batch_scope: "batch", "批次";
    unknown: "unknown", "未知";
    notify: "notify only", "仅通知";
    hold: "hold: nothing is taken back for now", "暂停：暂不回滚";
    rollback_batch: "roll back the accused batch", "回滚问题批次";
    rollback_full: "roll back the whole release", "回滚整个版本";
    shadow: "SHADOW MODE, nothing is done; it would be", "影子模式，不会执行；本应";
    more: "more", "更多";
    and_more_alerts: "more alerts are not listed here", "条告警未在此列出";
    no_chart: "not shown", "未显示";
    chart_follows: "see the picture", "见图";
    chart_late: "it was not drawn in time", "未能及时生成";
    chart_no_url: "this channel needs web.external_url to show it", "该渠道需要配置 web.external_url 才能显示";
    at_limit: "the channel is at its limit", "该渠道已达发送频率上限";
    as_of: "as of", "截至";
    footer: "Sent by Backstop. Answers to this message are not read.", "由 Backstop 发送，回复不会被阅读。";
}

impl Words {
    /// A subject of Backstop's own in this language; any other text stays as it is.
    pub fn subject<'a>(&'a self, text: &'a str) -> &'a str {
        let own: [fn(&Self) -> &'static str; 13] = [
            |w| w.vendor_shut,
            |w| w.waits_long,
            |w| w.wait_decided,
            |w| w.asks,
            |w| w.approved,
            |w| w.denied,
            |w| w.unanswered_held,
            |w| w.unanswered_done,
            |w| w.channel_refuses,
            |w| w.self_test_lost,
            |w| w.self_test_back,
            |w| w.bad_is_back,
            |w| w.budget_spent,
        ];
        let known = own.iter().find(|word| word(&EN) == text);
        known.map_or(text, |word| word(self))
    }

    /// What happened, and its numbers and names.
    pub(super) fn with_detail(&self, happened: &str, detail: &str) -> String {
        format!("{happened}{}{detail}", self.between_details)
    }

    /// The words of a language.
    pub fn of(locale: Locale) -> &'static Self {
        match locale {
            Locale::En => &EN,
            Locale::ZhCn => &ZH_CN,
        }
    }
}
