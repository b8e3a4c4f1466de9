"""nedr in ComfyUI: copy this folder to custom_nodes/nedr, and install nedr in ComfyUI's Python (docs/hosts.md)."""

from typing import Any

import nedr


class NedrDehaze:
    """Removes haze from a batch of images; also returns how clear the air is at each pixel, as a mask."""

    CATEGORY = "image/restoration"
    FUNCTION = "dehaze"
    RETURN_TYPES = ("IMAGE", "MASK")
    RETURN_NAMES = ("image", "transmission")

    def __init__(self) -> None:
        self._dehazer = nedr.Dehazer()

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """The inputs, under the name that ComfyUI expects."""
        strength = {"default": 1.0, "min": 0.0, "max": 1.5, "step": 0.05, "tooltip": "0 changes nothing"}
        return {"required": {"image": ("IMAGE",), "strength": ("FLOAT", strength)}}

    def dehaze(self, image: Any, strength: float) -> tuple[Any, Any]:
        """IMAGE float32 (B, H, W, C) in [0, 1] -> the same without haze, and transmission (B, H, W)."""
        import torch

        clear, clarity = [], []
        for frame in image.cpu().numpy().clip(0, 1):
            field = self._dehazer.field(frame)
            clear.append(torch.from_numpy(field.apply(frame, strength=strength, threads=self._dehazer.threads)))
            clarity.append(torch.from_numpy(field.transmission(*frame.shape[:2])))
        return torch.stack(clear).to(image.device), torch.stack(clarity).to(image.device)


NODE_CLASS_MAPPINGS = {"NedrDehaze": NedrDehaze}
NODE_DISPLAY_NAME_MAPPINGS = {"NedrDehaze": "Remove haze (nedr)"}
