//! Reads what Spinnaker says into Deployment documents.
