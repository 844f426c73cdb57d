"""A gRPC service that refuses every call, as Google's services do."""

from __future__ import annotations

from typing import Any, Final

import grpc

_STREAMING: Final = ("RunQuery", "RunAggregationQuery", "BatchGetDocuments")


class Refusing(grpc.GenericRpcHandler):
    """Answers every call with the status `code` and a text. Clients find it at `address`."""

    code = grpc.StatusCode.OK
    text = ""
    address = ""

    def service(self, handler_call_details: Any) -> Any:
        """Refuse this call, whatever it is."""
        if handler_call_details.method.endswith("/Listen"):
            return grpc.stream_stream_rpc_method_handler(self._refuse)
        streaming = handler_call_details.method.rpartition("/")[2] in _STREAMING
        make = grpc.unary_stream_rpc_method_handler if streaming else grpc.unary_unary_rpc_method_handler
        return make(self._refuse)

    def _refuse(self, _request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(self.code, self.text)
