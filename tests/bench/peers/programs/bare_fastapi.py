"""What FastAPI itself can do: a constant."""

from fastapi import FastAPI

app = FastAPI()


@app.post("/predict")
async def predict() -> dict[str, int]:
    return {"prediction": 0}
