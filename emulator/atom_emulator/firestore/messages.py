"""The protocol's message classes, as the client package carries them, without its slower wrappers."""

from __future__ import annotations

from typing import Any

from google.cloud.firestore_v1.types import document, firestore, write
from google.protobuf.empty_pb2 import Empty


def _raw(wrapper: Any) -> Any:
    return type(wrapper.pb(wrapper()))


BatchGetDocumentsRequest = _raw(firestore.BatchGetDocumentsRequest)
BatchGetDocumentsResponse = _raw(firestore.BatchGetDocumentsResponse)
BatchWriteRequest = _raw(firestore.BatchWriteRequest)
BatchWriteResponse = _raw(firestore.BatchWriteResponse)
BeginTransactionRequest = _raw(firestore.BeginTransactionRequest)
BeginTransactionResponse = _raw(firestore.BeginTransactionResponse)
CommitRequest = _raw(firestore.CommitRequest)
CommitResponse = _raw(firestore.CommitResponse)
CreateDocumentRequest = _raw(firestore.CreateDocumentRequest)
DeleteDocumentRequest = _raw(firestore.DeleteDocumentRequest)
Document = _raw(document.Document)
GetDocumentRequest = _raw(firestore.GetDocumentRequest)
ListCollectionIdsRequest = _raw(firestore.ListCollectionIdsRequest)
ListCollectionIdsResponse = _raw(firestore.ListCollectionIdsResponse)
ListDocumentsRequest = _raw(firestore.ListDocumentsRequest)
ListDocumentsResponse = _raw(firestore.ListDocumentsResponse)
RollbackRequest = _raw(firestore.RollbackRequest)
RunAggregationQueryRequest = _raw(firestore.RunAggregationQueryRequest)
RunAggregationQueryResponse = _raw(firestore.RunAggregationQueryResponse)
RunQueryRequest = _raw(firestore.RunQueryRequest)
RunQueryResponse = _raw(firestore.RunQueryResponse)
UpdateDocumentRequest = _raw(firestore.UpdateDocumentRequest)
WriteResult = _raw(write.WriteResult)

__all__ = ["Empty"]
