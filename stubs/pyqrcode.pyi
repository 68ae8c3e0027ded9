from typing import IO

class QRCode:
	def svg(
		self,
		file: IO[bytes],
		scale: int = ...,
		background: str | None = ...,
		module_color: str = ...,
		quiet_zone: int = ...,
	) -> None: ...
	def terminal(self, quiet_zone: int = ...) -> str: ...

def create(content: str) -> QRCode: ...
