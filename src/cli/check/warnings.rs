//! What is allowed and will not do what one may think.

use super::finding::{Finding, Severity};
use crate::chart::Fonts;
use crate::config::channel::{Locale, Target};
use crate::config::{Config, ServiceConfig, Way};
use crate::domain::id::Service;
use crate::domain::policy::{Mode, Policy};
use crate::github::Repository;

/// Drawn to see whether charts can be labelled in Chinese.
const CHINESE: &str = "回滚告警阈值错误率";

struct Warnings<'a> {
    config: &'a Config,
    file: &'a str,
    found: Vec<Finding>,
}

/// Everything worth a word about a configuration that can be used.
pub(super) fn of(config: &Config, file: &str) -> Vec<Finding> {
    let mut warnings = Warnings {
        config,
        file,
        found: Vec::new(),
    };
    warnings.access();
    warnings.store();
    warnings.evidence();
    for (name, service) in &config.services {
        warnings.service(name, service);
    }
    warnings.channels();
    warnings.fonts();
    warnings.policies();
    warnings.found.sort_by_key(|finding| finding.severity);
    warnings.found
}

impl Warnings<'_> {
    fn warn(&mut self, message: impl Into<String>, hint: impl Into<String>) {
        let finding = Finding::of(Severity::Warning, self.file, message);
        self.found.push(finding.hint(hint));
    }

    fn info(&mut self, message: impl Into<String>, hint: impl Into<String>) {
        let finding = Finding::of(Severity::Info, self.file, message);
        self.found.push(finding.hint(hint));
    }

    fn access(&mut self) {
        match &self.config.auth {
            None => self.warn(
                "no `auth`: only loopback is served, and only ingest and read",
                "add `auth.tokens` before anything else may send alerts or roll back",
            ),
            Some(auth) => {
                if auth.tokens.is_empty() {
                    self.warn(
                        "`auth` holds no token: every request will be refused",
                        "add `auth.tokens`",
                    );
                }
                if auth.signing_key.is_none() {
                    self.warn(
                        "no `auth.signing_key`: charts and approvals get no links",
                        "set the same key on every replica",
                    );
                }
            }
        }
        if self.config.web.external_url.is_none() {
            self.info(
                "no `web.external_url`: messages carry no links to Backstop",
                "set it here or by --web.external-url",
            );
        }
    }

    fn store(&mut self) {
        let url = &self.config.store.url;
        if url == "memory:" {
            self.warn(
                "the store is in memory: a restart forgets every incident",
                "use file:PATH on one host, s3://BUCKET/PREFIX on several",
            );
        } else if url.starts_with("file:") && self.config.replicas > 1 {
            self.warn(
                format!(
                    "the store `{url}` is a directory, yet there are {} replicas",
                    self.config.replicas
                ),
                "a directory serves replicas of one host only; use s3://BUCKET/PREFIX",
            );
        }
    }

    fn evidence(&mut self) {
        if self.config.metrics.is_none() {
            self.warn(
                "no `metrics`: no evidence, so no automatic rollback, and no charts",
                "set `metrics.url` to the metrics store",
            );
        }
        let all_verify = self
            .config
            .policies
            .iter()
            .flat_map(|policy| &policy.rules)
            .filter(|rule| rule.action.is_rollback())
            .all(|rule| rule.verify.is_some());
        if self.config.vmalert.is_empty() && !all_verify {
            self.warn(
                "no `vmalert`: an alert's expression can't be trusted, so rules without `verify` never roll back by themselves",
                "name the vmalerts whose rules are yours, or give each rollback rule `verify`",
            );
        }
        if self.config.spinnaker.is_none() {
            self.warn(
                "no `spinnaker`: nothing can be taken back",
                "set `spinnaker.gate`",
            );
        }
        if self
            .config
            .github
            .as_ref()
            .is_some_and(|github| github.token.is_none())
        {
            self.warn(
                "`github` has no token: public repositories only, and 60 calls an hour",
                "set `github.token`, with the right to read contents",
            );
        }
        if self.config.services.is_empty() {
            self.info(
                "no `services`: alerts are told, but belong to no deployment",
                "name each service with its deploy and rollback pipelines",
            );
        }
    }

    fn service(&mut self, name: &Service, service: &ServiceConfig) {
        let rollback = &service.rollback;
        for (scope, way) in [("batch", &rollback.batch), ("full", &rollback.full)] {
            match way {
                None => self.warn(
                    format!("service `{name}` has no pipeline for a {scope} rollback"),
                    format!("set `services.{name}.rollback.{scope}`"),
                ),
                Some(Way::Pipeline(pipeline)) if !pipeline.admission => self.warn(
                    format!(
                        "pipeline `{}` of service `{name}` does not ask for admission: that it runs once is likely, not certain",
                        pipeline.pipeline
                    ),
                    "put the admit stage of the shipped pipelines first and remove `admission: false`",
                ),
                Some(Way::Pipeline(_)) => {}
                Some(task) => self.warn(
                    format!(
                        "task `{}` of service `{name}` can't ask for admission: that it runs once is likely, not certain, and an unclear send is left to a person",
                        task.name()
                    ),
                    "a rollback pipeline with the admit stage is the stronger way",
                ),
            }
        }
        if service.recovery.is_none() {
            self.warn(
                format!("service `{name}` has no `recovery` question: a rollback ends unverified and pages"),
                format!("set `services.{name}.recovery`"),
            );
        }
        if let (Some(github), Some(page)) = (&self.config.github, &service.repository)
            && Repository::of(page, &github.api_url).is_none()
        {
            self.info(
                format!("`sync` does not read the repository of service `{name}`: it is not on the host of `github.api_url`"),
                "its page is https://HOST/OWNER/NAME",
            );
        }
        if service.deploy.is_empty() {
            self.warn(
                format!("service `{name}` names no deploy pipeline: its deployments are unknown unless batches are announced"),
                format!("set `services.{name}.deploy`"),
            );
        }
        if !self
            .config
            .policies
            .iter()
            .any(|policy| policy.covers(name))
        {
            self.warn(
                format!("service `{name}` is in no policy: its alerts are only told"),
                "name it in a file of rules/policy, or keep one file for \"*\"",
            );
        }
    }

    fn channels(&mut self) {
        if self.config.channels.is_empty() {
            self.warn(
                "no channels: nobody is told anything",
                "add channels/NAME.yaml",
            );
        }
        if self.config.web.external_url.is_some() {
            return;
        }
        for channel in self.config.channels.values() {
            if matches!(channel.settings.target, Target::DingTalk(_)) {
                self.warn(
                    format!(
                        "channel `{}` shows text only: DingTalk fetches charts by their address",
                        channel.name()
                    ),
                    "set `web.external_url` to one that DingTalk's servers reach",
                );
            }
        }
    }

    fn fonts(&mut self) {
        let chinese = self
            .config
            .channels
            .values()
            .any(|channel| channel.settings.locale == Locale::ZhCn);
        match Fonts::load(self.config.chart_font.as_deref()) {
            Err(error) => self.warn(
                format!("charts can't use the configured font: {error}"),
                "`charts.font` names a TrueType or OpenType file",
            ),
            Ok(fonts) if chinese => {
                let missing = fonts.missing(CHINESE);
                if !missing.is_empty() {
                    let missing: String = missing.into_iter().collect();
                    self.warn(
                        format!(
                            "no font with Chinese glyphs is installed: charts show boxes for Chinese labels (tried and missing: {missing})"
                        ),
                        "install fonts-wqy-microhei or fonts-noto-cjk, or set `charts.font`",
                    );
                }
            }
            Ok(_) => {}
        }
    }

    fn policies(&mut self) {
        let config = self.config;
        let approvals = config.policies.iter().any(|policy| {
            let asks = |policy: &Policy| policy.rules.iter().any(|rule| rule.approval.is_some());
            asks(policy) || policy.guards.mode == Mode::Approve
        });
        let key = config
            .auth
            .as_ref()
            .and_then(|auth| auth.signing_key.as_ref());
        if approvals && (key.is_none() || config.web.external_url.is_none()) {
            self.warn(
                "approvals are asked for, but can't be given by a link",
                "set `auth.signing_key` and `web.external_url`",
            );
        }
        let above = config.mode.unwrap_or(Mode::Enforce);
        let acts = config
            .policies
            .iter()
            .any(|policy| policy.guards.mode.min(above) > Mode::Shadow);
        if !acts {
            self.info(
                "no policy is above mode `shadow`: decisions are made and told, nothing is done",
                "raise `guards.mode` of a policy when its decisions have proved right",
            );
        }
    }
}
