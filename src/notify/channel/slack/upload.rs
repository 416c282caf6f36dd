//! A chart into Slack's files: ask for an address, send the bytes there, say that is all. Never
//! into a channel: the message names the file itself.

use std::sync::PoisonError;

use serde_json::json;

use super::super::{Outgoing, SendError, call};
use super::{Slack, text};
use crate::notify::render::value::shorten;

/// The method that gives an address for a file.
const ADDRESS: &str = "files.getUploadURLExternal";
/// Uploaded charts that are remembered for a second attempt.
const REMEMBERED: usize = 64;

impl Slack {
    /// Uploads the chart, or finds the upload of an earlier attempt.
    pub(super) async fn upload(
        &self,
        message: &Outgoing<'_>,
        png: &[u8],
    ) -> Result<String, SendError> {
        let chart = message.notice.chart.as_ref();
        let key = chart.map_or(message.message_id, |chart| chart.id.as_str());
        if let Some(file) = self.remembered(key) {
            return Ok(file);
        }
        let alt = chart.map_or("chart", |chart| chart.alt.as_str());
        let form = [
            ("filename", "chart.png".to_owned()),
            ("length", png.len().to_string()),
            ("alt_txt", shorten(alt, 1000)),
        ];
        let answer = self.ask(ADDRESS, self.request(ADDRESS).form(&form)).await?;
        let (url, file) = (text(&answer, "upload_url")?, text(&answer, "file_id")?);
        call::bytes(self.http.post(url).body(png.to_vec())).await?;
        let complete = json!({"files": [{"id": file, "title": alt}]});
        self.method("files.completeUploadExternal", &complete)
            .await?;
        let mut uploaded = self.uploaded.lock().unwrap_or_else(PoisonError::into_inner);
        if uploaded.len() >= REMEMBERED {
            uploaded.pop_front();
        }
        uploaded.push_back((key.to_owned(), file.clone()));
        Ok(file)
    }

    fn remembered(&self, key: &str) -> Option<String> {
        let uploaded = self.uploaded.lock().unwrap_or_else(PoisonError::into_inner);
        uploaded
            .iter()
            .find(|(chart, _)| chart == key)
            .map(|(_, file)| file.clone())
    }
}
