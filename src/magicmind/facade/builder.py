"""The builder."""

from __future__ import annotations

from magicmind.facade.config import BuilderConfig
from magicmind.facade.model import Model
from magicmind.facade.network import Network
from magicmind.facade.status import LOG, Refused, Status


class Builder:
    """Builds models. `status` is how the last build ended."""

    def __init__(self) -> None:
        self.status = Status.OK()

    def build_model(self, name: str, network: Network, config: BuilderConfig | None = None) -> Model | None:
        """A model of the network, which cannot change afterwards; None, with the reason in the log, if that fails."""
        try:
            model = self._built(name, network, config)
        except Exception as error:
            self.status = Status.of(error)
            LOG.debug("build_model", exc_info=error)
            LOG.error("build_model: %s", self.status)
            return None
        self.status = Status.OK()
        network.close()
        return model

    def _built(self, name: str, network: Network, config: BuilderConfig | None) -> Model:
        if not isinstance(network, Network):
            raise Refused(f"build_model takes a name, a Network and a BuilderConfig, not {type(network).__name__}")
        if config is not None and not isinstance(config, BuilderConfig):
            raise Refused(f"the configuration is a BuilderConfig, not {type(config).__name__}")
        from magicmind.facade.build import build_model

        return Model.of(build_model(str(name), network, config or BuilderConfig()))
