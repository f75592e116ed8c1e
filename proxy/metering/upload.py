"""A request's body on its way up, pushed piece by piece."""

from proxy.errors import ClientError, ProxyError
from proxy.http.upstream import UpstreamConnection
from proxy.metering.outcome import Ended
from proxy.metering.relay import Relay
from proxy.wire.request_shape import FormReader


class Upload:
    """Pushes a streamed request body up; ``form`` reads it on its way.

    Unless it is ``chunked`` it must be exactly ``length`` bytes (None: there is none): anything
    else would be taken for a part of the connection's next request, which is another client's.
    """

    def __init__(
        self,
        connection: UpstreamConnection,
        relay: Relay,
        form: FormReader | None,
        length: int | None,
        *,
        chunked: bool,
    ) -> None:
        self._connection = connection
        self._relay = relay
        self._form = form
        self._chunked = chunked
        self._missing = length or 0

    def body_data(self, data: bytes) -> None:
        """Send a piece on."""
        if not self._chunked:
            self._missing -= len(data)
            if self._missing < 0:
                self.body_broken(_misframed())
                return
        if self._form is not None:
            self._form.feed(data)
        self._connection.write(data, chunked=self._chunked)

    def body_end(self) -> None:
        """The body is whole."""
        if self._missing and not self._chunked:
            self.body_broken(_misframed())
            return
        self._relay.sent = True
        self._connection.finish_request(chunked=self._chunked)

    def body_broken(self, error: Exception) -> None:
        """The upstream has half a request, and must not wait for the rest."""
        if isinstance(error, ProxyError):
            self._relay.error = error
        self._relay.stop(Ended.CANCELLED)


def _misframed() -> ClientError:
    return ClientError(
        "The request's body is not as long as its Content-Length says. Check the client."
    )
