from serving import Served


def test_the_service_answers(served: Served) -> None:
    with served.client() as client:
        hits = client.post(
            "/v1/galleries/demo/searches", json={"text": "left pleural effusion", "top_k": 3}
        ).json()["hits"]
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
