using System.Text.Json;

namespace Cowork.Web.Tests;

/// <summary>What clients of contract B trip over: the ends of responses, ranges, forms, and what /openapi.json says of them.</summary>
public sealed class PlatformAnswerSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    const string Responses = "/api/v1/responses";

    readonly HttpClient http = tenant.Http;

    [Theory]
    [InlineData("conversation")]
    [InlineData("project")]
    public async Task A_response_whose_conversation_is_deleted_ends_as_cancelled(string deleted)
    {
        var project = (await http.Post("/api/v1/projects", """{"name":"x"}""")).Is(201)["id"];
        var conversation = (await http.Post("/api/v1/conversations", $$"""{"project_id":"{{project}}"}""")).Is(201)["id"];
        await using var reader = await EventReader.Open(http, Responses, json: $$"""{"conversation_id":"{{conversation}}","input":"/sleep 600000"}""");
        await reader.Through(1);
        (await http.Delete(deleted == "project" ? $"/api/v1/projects/{project}" : $"/api/v1/conversations/{conversation}")).Is(204);
        var last = (await reader.ToEnd())[^1];
        Assert.Equal(("response.cancelled", "cancelled"), (last.Type, last.Data.GetProperty("response").GetProperty("status").GetString()));
    }

    [Fact]
    public async Task A_response_that_failed_before_it_said_anything_has_no_output_and_a_reader_at_its_end_is_told_to_stop()
    {
        var conversation = (await http.Post("/api/v1/conversations", "{}")).Is(201)["id"];
        var failed = (await http.Post(Responses, $$"""{"conversation_id":"{{conversation}}","input":"/fail broken","stream":false}""")).Is(200);
        Assert.Equal(("failed", "[]"), (failed["status"], failed["output"]));
        await using var reader = await EventReader.Open(http, $"{Responses}/{failed["id"]}/events");
        var end = (await reader.ToEnd())[^1].Id;
        Assert.Equal(204, (int)(await http.Get($"{Responses}/{failed["id"]}/events?starting_after={end}")).Status);
        Assert.Equal(204, (int)(await http.Get($"{Responses}/tail?conversation_id={conversation}&from_seq={end + 1}")).Status);
        var two = (await http.Post(Responses, $$"""{"conversation_id":"{{conversation}}","conversation":"conv_other","input":"/say x","stream":false}""")).IsProblem(422);
        Assert.True(two.Json.GetProperty("errors").TryGetProperty("$.conversation", out _), two.Text);
    }

    [Fact]
    public async Task A_range_is_of_bytes_of_the_content_that_is_meant()
    {
        var file = (await http.Upload("0123456789", "digits.txt", ("project_id", ""), ("conversation_id", ""))).Is(201)["id"];
        var path = $"/api/v1/files/{file}/content";
        var tag = (await http.Get(path)).Is(200).Headers.ETag!.ToString();
        Assert.Equal("01", (await http.Get(path, ("Range", "bytes=0-1"))).Is(206).Text);
        Assert.Equal("01", (await http.Get(path, ("Range", "bytes=0-1"), ("If-Range", tag))).Is(206).Text);
        foreach (var (range, ifRange) in (IEnumerable<(string, string)>)[("lines=0-1", tag), ("bytes=0-1", "Thu, 01 Jan 1970 00:00:00 GMT"), ("bytes=0-1", "\"other\"")])
        {
            Assert.Equal("0123456789", (await http.Get(path, ("Range", range), ("If-Range", ifRange))).Is(200).Text);
        }
        Assert.Equal(416, (int)(await http.Get(path, ("Range", "bytes=99-"))).Status);
    }

    [Fact]
    public async Task A_field_of_another_name_is_passed_over_whatever_its_bytes_are_and_not_when_it_is_large()
    {
        Task<Got> Send(string other) => http.Send(
            HttpMethod.Post, "/api/v1/files",
            System.Text.Encoding.Latin1.GetBytes(
                UploadedForm.Part("name=\"other\"", other) + UploadedForm.Part("name=\"file\"; filename=\"a.txt\"", "text") + UploadedForm.End),
            UploadedForm.ContentType);
        (await Send("\u00ff\u00fe")).Is(201);
        (await Send(new('x', 5_000))).IsProblem(422, "invalid_request");
    }

    [Fact]
    public async Task The_description_says_what_a_response_and_an_upload_need()
    {
        var schemas = (await http.Get("/openapi.json")).Is(200).Json.GetProperty("components").GetProperty("schemas");
        var response = schemas.GetProperty("NewResponse");
        Assert.Equal(["input"], Words(response.GetProperty("required")));
        var members = response.GetProperty("properties");
        Assert.Equal("string", members.GetProperty("input").GetProperty("type").GetString());
        Assert.Equal(["null", "object", "string"], Words(members.GetProperty("conversation").GetProperty("type")).Order());
        Assert.False(members.TryGetProperty("message", out _) || members.TryGetProperty("named_conversation", out _));
        Assert.Equal(["file"], Words(schemas.GetProperty("FileForm").GetProperty("required")));
        Assert.Equal(["artifact_id"], Words(schemas.GetProperty("ArtifactToOpen").GetProperty("required")));
    }

    [Fact]
    public async Task An_artifact_is_opened_once_under_a_key()
    {
        var session = await http.NewSession();
        (await http.Turn(session, "/tool write_file {\"path\":\".anton/output/a.md\",\"content\":\"x\"}")).Is(200);
        var artifact = (await http.Get("/api/v1/artifacts")).Is(200).Json.GetProperty("data")[0].GetProperty("id").GetString();
        await using var shell = await EventReader.Open(http, "/api/v1/shell/events");
        var (body, key) = ($$"""{"artifact_id":"{{artifact}}"}""", ("Idempotency-Key", "open-1"));
        var first = (await http.Post("/api/v1/artifacts/open", body, key)).Is(202);
        var again = (await http.Post("/api/v1/artifacts/open", body, key)).Is(202);
        Assert.Equal(("1", "0", "true"), (first["delivered_to"], again["delivered_to"], again.Headers.GetValues("Idempotency-Replayed").Single()));
        (await http.Post("/api/v1/artifacts/open", $$"""{"artifact_id":"{{artifact}}","more":1}""", key)).IsProblem(422, "idempotency_key_reused");
    }

    [Fact]
    public async Task A_schedule_may_begin_paused()
    {
        var project = (await http.Post("/api/v1/projects", """{"name":"x"}""")).Is(201)["id"];
        var made = (await http.Post("/api/v1/schedules", $$"""{"project_id":"{{project}}","cron":"* * * * *","prompt":"/say x","status":"paused"}""")).Is(201);
        Assert.Equal(("paused", ""), (made["status"], made["next_run_at"]));
        (await http.Post("/api/v1/schedules", $$"""{"project_id":"{{project}}","cron":"* * * * *","prompt":"/say x","status":"asleep"}""")).IsProblem(422);
    }

    static IEnumerable<string> Words(JsonElement list) => list.EnumerateArray().Select(word => word.GetString()!);
}
