"""The protocol's message classes from the client package, without its slower wrappers."""

from __future__ import annotations

from google.cloud.firestore_v1.types import document, firestore, write
from google.protobuf.empty_pb2 import Empty

from atom_workflows.adapters.grpc_calls import message_class

BatchGetDocumentsRequest = message_class(firestore.BatchGetDocumentsRequest)
BatchGetDocumentsResponse = message_class(firestore.BatchGetDocumentsResponse)
BatchWriteRequest = message_class(firestore.BatchWriteRequest)
BatchWriteResponse = message_class(firestore.BatchWriteResponse)
BeginTransactionRequest = message_class(firestore.BeginTransactionRequest)
BeginTransactionResponse = message_class(firestore.BeginTransactionResponse)
CommitRequest = message_class(firestore.CommitRequest)
CommitResponse = message_class(firestore.CommitResponse)
CreateDocumentRequest = message_class(firestore.CreateDocumentRequest)
DeleteDocumentRequest = message_class(firestore.DeleteDocumentRequest)
Document = message_class(document.Document)
GetDocumentRequest = message_class(firestore.GetDocumentRequest)
ListCollectionIdsRequest = message_class(firestore.ListCollectionIdsRequest)
ListCollectionIdsResponse = message_class(firestore.ListCollectionIdsResponse)
ListDocumentsRequest = message_class(firestore.ListDocumentsRequest)
ListDocumentsResponse = message_class(firestore.ListDocumentsResponse)
ListenRequest = message_class(firestore.ListenRequest)
ListenResponse = message_class(firestore.ListenResponse)
RollbackRequest = message_class(firestore.RollbackRequest)
RunAggregationQueryRequest = message_class(firestore.RunAggregationQueryRequest)
RunAggregationQueryResponse = message_class(firestore.RunAggregationQueryResponse)
RunQueryRequest = message_class(firestore.RunQueryRequest)
RunQueryResponse = message_class(firestore.RunQueryResponse)
UpdateDocumentRequest = message_class(firestore.UpdateDocumentRequest)
WriteResult = message_class(write.WriteResult)

__all__ = ["Empty"]
