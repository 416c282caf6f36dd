//! Why something was decided, in the channel's language: a guard's code in words of that language,
//! and beside it what the guard said, with its numbers and names.

use crate::config::channel::Locale;
use crate::domain::decision::Code;
use crate::domain::notice::Told;

/// The reason of a decision.
pub(super) fn told(locale: Locale, told: &Told) -> String {
    match (locale, chinese(told.code)) {
        (Locale::ZhCn, Some(words)) => format!("{words}（{}）", told.why),
        _ => told.why.clone(),
    }
}

/// A code in Chinese; None: there is nothing to say beside the words.
fn chinese(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::Unstated | Code::Ok => return None,
        Code::Unreadable => "所需信息无法读取",
        Code::NobodyAccused => "没有指向唯一的部署",
        Code::Off => "自动回滚已关闭",
        Code::Shadow => "影子模式：只记录，不执行",
        Code::Truncated => "告警消息不完整，部分告警被截断",
        Code::Resolved => "告警已恢复",
        Code::OldDelivery => "告警消息过旧",
        Code::OldHold => "等待时间过长",
        Code::StartsInFuture => "告警开始时间在未来",
        Code::LeaseOver => "发送方已不再确认该告警",
        Code::Ambiguous => "匹配到多个部署",
        Code::NoDeployment => "没有匹配的部署",
        Code::OtherRelease => "该部署发布的不是告警所指的版本",
        Code::NoLane => "服务名与环境名过长",
        Code::StaleCatalog => "发布目录数据过旧",
        Code::TooYoung => "持续时间不足",
        Code::TooFewHosts => "涉及的主机太少",
        Code::NotAsked => "尚未查询指标",
        Code::OldEvidence => "证据过旧",
        Code::DoesNotHold => "指标显示条件不成立",
        Code::HoldsForOthers => "指标显示问题出在其他主机或版本",
        Code::NoData => "指标没有数据",
        Code::SourceDown => "指标存储无法访问",
        Code::NoTrustedExpression => "没有可信的表达式",
        Code::NotToBlame => "问题不是该版本引起的",
        Code::BlameUnclear => "无法判断问题是否由该版本引起",
        Code::ScopeUntold => "无法确定回滚范围",
        Code::AlreadyHandled => "已有事件正在处理",
        Code::WiderThanIncident => "进行中的事件只回滚了一部分",
        Code::OtherIncident => "同一服务的另一个事件尚未结束",
        Code::RollbackFailed => "该部署此前的回滚失败",
        Code::GivenUp => "该部署此前的事件已被人工放弃",
        Code::AlreadyTakenBack => "此前的事件已完成回滚",
        Code::NoStableRelease => "没有可回滚到的稳定版本",
        Code::WasRollback => "该部署本身就是一次回滚",
        Code::WasTarget => "该版本是此前回滚的目标",
        Code::NotReversible => "该版本标记为不可回滚",
        Code::RollbacksPass => "处于封网窗口，但允许回滚",
        Code::Frozen => "处于封网窗口，禁止回滚",
        Code::OtherExecution => "另有流水线正在执行",
        Code::MayTouch => "另有执行可能影响同一集群",
        Code::CoolingDown => "距上次回滚时间过短",
        Code::OverallSpent => "全局自动回滚次数已用完",
        Code::ServiceSpent => "该服务自动回滚次数已用完",
        Code::TooFewLeft => "回滚期间剩余主机过少",
        Code::ModeAsks => "审批模式：需要人工批准",
        Code::RuleAsks => "规则要求人工批准",
        Code::Asked => "正在等待人工批准",
        Code::NoAnswer => "无人在期限内答复",
        Code::Denied => "已被人工拒绝",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::render::specimen::firing;

    #[test]
    fn a_code_is_told_in_chinese_and_what_the_guard_said_beside_it() {
        let mut decision = firing().decision.unwrap();
        decision.code = Code::TooYoung;
        decision.why = "5s more".into();
        assert_eq!(told(Locale::ZhCn, &decision), "持续时间不足（5s more）");
        assert_eq!(told(Locale::En, &decision), "5s more");
        decision.code = Code::Unstated;
        assert_eq!(told(Locale::ZhCn, &decision), "5s more");
    }
}
