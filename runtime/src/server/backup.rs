//! A copy of the node, streamed while it goes on.

use super::{AppState, Problem, archive, auth::Caller};
use crate::identity::Action;
use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::stream;
use http::header;
use std::io::{self, Write};
use tokio::sync::mpsc;

/// Pieces of the archive that wait for the network.
const PIECES: usize = 8;
const PIECE_BYTES: usize = 64 << 10;

/// `GET /api/v1/backup`: a tar archive. One that breaks off has no end mark, so it can't be taken for a whole one.
pub async fn backup(State(state): State<AppState>, caller: Caller) -> Result<Response, Problem> {
    caller.may(Action::Administer)?;
    let from = state.clone();
    let copy = tokio::task::spawn_blocking(move || {
        archive::Copy::take(&from.config.data, &from.store, &from.ledger, &from.history, &from.devices)
    });
    let copy = copy.await?.map_err(|e| Problem::internal(&e))?;
    let (sender, receiver) = mpsc::channel(PIECES);
    // Ends with the archive, or when the client has gone and nobody takes the pieces.
    tokio::task::spawn_blocking(move || {
        let mut pieces = io::BufWriter::with_capacity(PIECE_BYTES, Pieces(sender.clone()));
        if let Err(error) = copy.write(&mut pieces).and_then(|()| pieces.flush()) {
            tracing::warn!(%error, "a backup broke off");
            // Ends the answer without its last chunk.
            let _ = sender.blocking_send(Err(error));
        }
    });
    let pieces = stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|piece| (piece, receiver)) });
    let headers = [(header::CONTENT_TYPE, "application/x-tar"), (header::CONTENT_DISPOSITION, "attachment; filename=\"tawi-backup.tar\"")];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.0.blocking_send(Ok(Bytes::copy_from_slice(piece))).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
