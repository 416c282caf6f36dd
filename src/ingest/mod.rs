//! Bodies of Alertmanager and vmalert in, alert groups and episodes out.
