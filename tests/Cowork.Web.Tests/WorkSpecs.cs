using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Microsoft.Extensions.DependencyInjection;

namespace Cowork.Web.Tests;

/// <summary>Contract E over HTTP.</summary>
public sealed class WorkSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    /// <summary>What JSON allows, and readers of it change: the order and the repetition of members, numbers, escapes, white space.</summary>
    const string EveryEdge = """
        { "b":1.0, "a" : -0, "n":12345678901234567890123,"e":1e400,"E":-1.5E+2,"z":0.10 ,"":"no name","dup":1,"dup":2,
          "esc":"\u0000\ud800 \/ \b\f\n\r\t\"\\ \u00e9\uD83D\uDE00\u2028", "\u0000":"é😀 ​","list":[ [],{} ,null,true,false, "" ],	"__proto__":{"payload":1} }
        """;

    readonly HttpClient http = tenant.Http;

    static string New(string label = "My Work", string payload = "{}", string bucket = "brand_assets", string more = "") =>
        $$"""{"bucket":"{{bucket}}","label":"{{label}}","payload":{{payload}}{{more}}}""";

    static JsonElement Work(Got got) => got.Json.GetProperty("data").GetProperty("work");

    static string Id(Got got) => Work(got).GetProperty("work_id").GetString()!;

    static string? ETag(Got got) => got.Headers.ETag?.ToString();

    static async Task<(List<JsonElement> Works, string? Next)> List(HttpClient by, string query = "")
    {
        var data = (await by.Get($"/myworks{query}")).Is(200).Json.GetProperty("data");
        return ([.. data.GetProperty("list").EnumerateArray()], data.GetProperty("next_cursor").GetString());
    }

    static async Task<string> Labels(HttpClient by, string query = "") =>
        string.Join(' ', (await List(by, query)).Works.Select(work => work.GetProperty("label").GetString()));

    /// <summary>A client whose answers nobody looks at: not everything that JSON allows fits what compares them.</summary>
    async Task<HttpClient> Plain() => Plain(tenant.Host.Url, await tenant.Host.Token(tenant.Org, "member"));

    static HttpClient Plain(string url, string token) =>
        new(AnyCertificate.Handler(64)) { BaseAddress = new(url), DefaultRequestHeaders = { Authorization = new AuthenticationHeaderValue("Bearer", token) } };

    /// <summary>A user of the tenant with works of nobody else.</summary>
    async Task<HttpClient> User(string name)
    {
        using var admin = tenant.Host.Client(tenant.Host.AdminToken);
        var issued = await admin.Post("/tokens", JsonSerializer.Serialize(new { name = "works", user = name, roles = (string[])["member"], org_id = tenant.Org }));
        return tenant.Host.Client(issued.Is(201)["token"]);
    }

    [Fact]
    public async Task A_work_is_created_shown_changed_copied_and_deleted_as_the_contract_has_it()
    {
        using var ann = await User("whole");
        var made = (await ann.Post("/myworks", New("Elm Street", """{"rooms": 3}""", "listing", ""","metadata":{"v":1},"preview":"3 rooms","tags":["spring","Elm"],"unknown":[{}]"""))).Is(201);
        var id = Id(made);
        Assert.Equal($"/myworks/{id}", made.Headers.Location!.ToString());
        Assert.Equal(["contract_version", "data", "ok"], made.Json.EnumerateObject().Select(m => m.Name).Order());
        Assert.Equal((true, "1.0"), (made.Json.GetProperty("ok").GetBoolean(), made["contract_version"]));
        Assert.Equal(["1.0"], made.Headers.GetValues("Contract-Version"));
        Assert.Equal(
            ["work_id", "bucket", "label", "created_at", "updated_at", "metadata", "preview", "tags", "payload"], Work(made).EnumerateObject().Select(m => m.Name));
        Assert.Equal(
            ("listings", "Elm Street", """{"v":1}""", "3 rooms", """["spring","Elm"]""", """{"rooms": 3}"""),
            (Work(made).GetProperty("bucket").GetString(), Work(made).GetProperty("label").GetString(), Work(made).GetProperty("metadata").GetRawText(),
                Work(made).GetProperty("preview").GetString(), Work(made).GetProperty("tags").GetRawText(), Work(made).GetProperty("payload").GetRawText()));
        Assert.Equal(made.Text, (await ann.Get($"/myworks/{id}")).Is(200).Text);
        Assert.Matches(@"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", Work(made).GetProperty("created_at").GetString());

        var listed = Assert.Single((await List(ann)).Works);
        Assert.Equal(["work_id", "bucket", "label", "created_at", "updated_at", "metadata", "preview", "tags"], listed.EnumerateObject().Select(m => m.Name));

        var changed = (await ann.Send(HttpMethod.Patch, $"/myworks/{id}", """{"label":"Elm Street 5","payload":{"rooms":4.0},"bucket":"deal","x":1}""")).Is(200);
        Assert.Equal(
            ("Elm Street 5", """{"rooms":4.0}""", """{"v":1}""", "listings"),
            (Work(changed).GetProperty("label").GetString(), Work(changed).GetProperty("payload").GetRawText(), Work(changed).GetProperty("metadata").GetRawText(),
                Work(changed).GetProperty("bucket").GetString()));
        Assert.Equal(Work(made).GetProperty("created_at").GetString(), Work(changed).GetProperty("created_at").GetString());
        var cleared = (await ann.Send(HttpMethod.Patch, $"/myworks/{id}", """{"metadata":null,"preview":null,"tags":null}""")).Is(200);
        Assert.Equal(["work_id", "bucket", "label", "created_at", "updated_at", "payload"], Work(cleared).EnumerateObject().Select(m => m.Name));
        Assert.Equal(cleared.Text, (await ann.Send(HttpMethod.Patch, $"/myworks/{id}", "{}")).Is(200).Text);

        var copy = (await ann.Post($"/myworks/{id}/duplicate")).Is(201);
        var named = (await ann.Post($"/myworks/{id}/duplicate", """{"label":"A copy"}""")).Is(201);
        Assert.Equal(("Elm Street 5", """{"rooms":4.0}"""), (Work(copy).GetProperty("label").GetString(), Work(copy).GetProperty("payload").GetRawText()));
        Assert.NotEqual(id, Id(copy));
        Assert.Equal($"/myworks/{Id(named)}", named.Headers.Location!.ToString());
        Assert.Equal("A copy|Elm Street 5|Elm Street 5", string.Join('|', (await List(ann)).Works.Select(w => w.GetProperty("label").GetString())));

        var deleted = (await ann.Delete($"/myworks/{id}")).Is(200);
        Assert.Equal($$"""{"ok":true,"data":{"work_id":"{{id}}"},"contract_version":"1.0"}""", deleted.Text);
        (await ann.Get($"/myworks/{id}")).IsProblem(404, "not_found");
        (await ann.Delete($"/myworks/{id}")).IsProblem(404, "not_found");
        (await ann.Send(HttpMethod.Patch, $"/myworks/{id}", """{"label":"x"}""")).IsProblem(404, "not_found");
        (await ann.Post($"/myworks/{id}/duplicate")).IsProblem(404, "not_found");
        Assert.Equal(2, (await List(ann)).Works.Count);
        // Deletion is an event, and the log has what was.
        var types = new List<string?>();
        for (var (since, last) = (0L, -1L); since != last;)
        {
            var page = (await http.Get($"/events?since_id={since}&limit=1000")).Is(200).Json;
            types.AddRange(
                page.GetProperty("events").EnumerateArray().Where(e => e.GetProperty("stream_id").GetString() == $"work-{id[5..]}").Select(e => e.GetProperty("type").GetString()));
            (since, last) = (page.GetProperty("next_since_id").GetInt64(), since);
        }
        Assert.Equal(["work_created", "work_changed", "work_changed", "work_deleted"], types);
    }

    [Fact]
    public async Task A_payload_comes_back_as_it_was_sent_to_the_byte()
    {
        using var plain = await Plain();
        var deep = string.Concat(Enumerable.Repeat("""{"a":[""", 500)) + "1" + string.Concat(Enumerable.Repeat("]}", 500));
        var large = $$"""{"text":"{{new string('é', 1_000_000)}}", "n":1.0}""";
        foreach (var payload in (string[])[EveryEdge.Trim(), deep, large, "{}", "{ }", """{"a":{"label":1,"payload":2}}"""])
        {
            var metadata = payload.Length < 10_000 && payload != deep ? payload : "{}";
            var made = (await plain.Post("/myworks", New("edge", payload, more: $",\"metadata\":{metadata}"))).Is(201);
            var begin = made.Text.IndexOf("\"work_id\":\"", StringComparison.Ordinal) + 11;
            var id = made.Text[begin..made.Text.IndexOf('"', begin)];
            void Has(Got got)
            {
                Assert.Contains($",\"payload\":{payload}}}}}", got.Is(200).Text, StringComparison.Ordinal);
                Assert.Contains($",\"metadata\":{metadata},", got.Text, StringComparison.Ordinal);
            }
            Has(made with { Status = HttpStatusCode.OK });
            Has(await plain.Get($"/myworks/{id}"));
            Has(await plain.Send(HttpMethod.Patch, $"/myworks/{id}", """{"label":"other"}"""));
            Has(await plain.Get($"/myworks/{id}"));
            (await plain.Send(HttpMethod.Patch, $"/myworks/{id}", """{"payload":{"x":0.0}}""")).Is(200);
            Assert.EndsWith(""","payload":{"x":0.0}}},"contract_version":"1.0"}""", (await plain.Get($"/myworks/{id}")).Is(200).Text, StringComparison.Ordinal);
            Has(await plain.Send(HttpMethod.Patch, $"/myworks/{id}", $$"""{"payload":{{payload}}}"""));
            Assert.Contains($"\"metadata\":{metadata}", (await plain.Get("/myworks?limit=1")).Is(200).Text, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Nesting_ends_at_a_thousand_levels_in_a_payload_and_at_64_elsewhere()
    {
        using var plain = await Plain();
        static string Nested(int levels) => $$"""{"a":{{new string('[', levels - 1)}}{{new string(']', levels - 1)}}}""";
        (await plain.Post("/myworks", New(payload: Nested(1_000)))).Is(201);
        foreach (var levels in (int[])[1_001, 10_000, 2_000_000])
        {
            var refused = (await plain.Post("/myworks", New(payload: Nested(levels)))).IsProblem(422, "invalid_request");
            Assert.Equal(("VALIDATION_ERROR", "$.payload: Nested deeper than 1000 levels."), (refused.Json.GetProperty("error").GetProperty("code").GetString(), refused["message"]));
        }
        (await plain.Post("/myworks", New(payload: new string('[', 4_000_000)))).IsProblem(400, "malformed_json");
        (await plain.Post("/myworks", New(more: $",\"metadata\":{Nested(63)}"))).Is(201);
        (await plain.Post("/myworks", New(more: $",\"metadata\":{Nested(64)}"))).IsProblem(422, "invalid_request");
        (await plain.Post("/myworks", New(more: $",\"unknown\":{Nested(1_000)}"))).IsProblem(422, "invalid_request");
        var id = Id((await plain.Post("/myworks", New())).Is(201));
        (await plain.Send(HttpMethod.Patch, $"/myworks/{id}", $$"""{"payload":{{Nested(10_000)}}}""")).IsProblem(422, "invalid_request");
    }

    [Theory]
    [InlineData("{}", 422, "$.bucket", "$.label", "$.payload")]
    [InlineData("""{"bucket":"sales","label":"x","payload":{}}""", 422, "$.bucket")]
    [InlineData("""{"bucket":5,"label":"x","payload":{}}""", 422, "$.bucket")]
    [InlineData("""{"bucket":"brand","label":" ","payload":{}}""", 422, "$.label")]
    [InlineData("""{"bucket":"brand","label":"a\u0000","payload":{}}""", 422, "$.label")]
    [InlineData("""{"bucket":"brand","label":"x","payload":null}""", 422, "$.payload")]
    [InlineData("""{"bucket":"brand","label":"x","payload":[]}""", 422, "$.payload")]
    [InlineData("""{"bucket":"brand","label":"x","payload":"{}"}""", 422, "$.payload")]
    [InlineData("""{"bucket":"brand","label":"x","payload":{},"metadata":[]}""", 422, "$.metadata")]
    [InlineData("""{"bucket":"brand","label":"x","payload":{},"tags":["a",""]}""", 422, "$.tags[1]")]
    [InlineData("""{"bucket":"brand","label":"x","payload":{},"tags":"a"}""", 422, "$.tags")]
    [InlineData("""{"bucket":"brand","label":"x","payload":{},"preview":"\ud800"}""", 422, "$.preview")]
    [InlineData("""{"bucket":"brand","label":"x","payload":{"a":01}}""", 400)]
    [InlineData("""{"bucket":"brand","label":"x","payload":{}""", 400)]
    [InlineData("[]", 422, "$")]
    [InlineData("", 400)]
    public async Task A_bad_work_is_refused_with_its_places(string body, int status, params string[] places)
    {
        var refused = (await http.Post("/myworks", body)).IsProblem(status);
        if (status == 422)
        {
            Assert.Equal(places.Order(), refused.Json.GetProperty("error").GetProperty("details").GetProperty("errors").EnumerateObject().Select(e => e.Name).Order());
        }
    }

    [Fact]
    public async Task Every_refusal_has_the_contracts_envelope_whoever_makes_it()
    {
        var id = Id((await http.Post("/myworks", New())).Is(201));
        using var nobody = tenant.Host.Client("cowork_wrong");
        using var auditor = await tenant.Client("auditor");
        (string Code, Got Got)[] refused =
        [
            ("UNAUTHORIZED", (await nobody.Get("/myworks")).IsProblem(401, "unauthorized")),
            ("FORBIDDEN", (await auditor.Post("/myworks", New())).IsProblem(403, "role_missing")),
            ("FORBIDDEN", (await http.Get("/myworks", ("Origin", "https://evil.example"))).IsProblem(403, "foreign_origin")),
            ("FORBIDDEN", (await http.Get("/myworks", ("Host", "evil.example"))).IsProblem(403, "foreign_host")),
            ("NOT_FOUND", (await http.Get("/myworks/no/such/place")).IsProblem(404, "not_found")),
            ("NOT_FOUND", (await http.Get($"/myworks/work_{new string('0', 26)}")).IsProblem(404, "not_found")),
            ("VALIDATION_ERROR", (await http.Send(HttpMethod.Put, $"/myworks/{id}", "{}")).IsProblem(405, "method_not_allowed")),
            ("VALIDATION_ERROR", (await http.Send(HttpMethod.Post, "/myworks", "{}"u8.ToArray(), "text/plain")).IsProblem(415, "unsupported_media_type")),
            ("VALIDATION_ERROR", (await http.Get("/myworks/a%20b")).IsProblem(422, "invalid_request")),
            ("VALIDATION_ERROR", (await http.Get("/myworks?limit=0")).IsProblem(422, "invalid_request")),
            ("VALIDATION_ERROR", (await http.Get("/myworks?bucket=sales")).IsProblem(422, "invalid_request")),
            ("VALIDATION_ERROR", (await http.Get("/myworks?q=%00")).IsProblem(422, "invalid_request")),
            ("VALIDATION_ERROR", (await http.Get("/myworks?cursor=x")).IsProblem(422, "unknown_cursor")),
            ("PAYLOAD_TOO_LARGE", (await http.Post("/myworks", New(new string('x', 4 << 20)))).IsProblem(413, "payload_too_large")),
            ("PRECONDITION_FAILED", (await http.Send(HttpMethod.Patch, $"/myworks/{id}", """{"label":"x"}""", ("If-Match", "\"7\""))).IsProblem(412, "precondition_failed")),
        ];
        foreach (var (code, got) in refused)
        {
            Assert.Equal(code, got.Json.GetProperty("error").GetProperty("code").GetString());
        }
        // What Kestrel refuses itself, once it has read the address.
        using var plain = await Plain();
        (await plain.Get("/myworks", ("X-Large", new string('x', 40_000)))).IsProblem(431, "headers_too_large");
        // Other contracts have their own.
        (await http.Get("/myworksx")).IsProblem(404);
        Assert.Equal("application/problem+json", (await http.Get("/myworksx")).ContentType);
    }

    [Fact]
    public async Task Versions_have_tags_that_reads_and_changes_can_name()
    {
        var made = (await http.Post("/myworks", New("tagged"))).Is(201);
        var path = $"/myworks/{Id(made)}";
        Assert.Equal("\"1\"", ETag(made));
        Assert.Equal("\"1\"", ETag(await http.Get(path)));
        foreach (var known in (string[])["\"1\"", "W/\"1\"", "\"0\", \"1\"", "*"])
        {
            var unchanged = await http.Get(path, ("If-None-Match", known));
            Assert.Equal((304, "", "\"1\""), ((int)unchanged.Status, unchanged.Text, ETag(unchanged)));
        }
        (await http.Get(path, ("If-None-Match", "\"2\""))).Is(200);

        Task<Got> Change(string label, string expected) => http.Send(HttpMethod.Patch, path, $$"""{"label":"{{label}}"}""", ("If-Match", expected));
        Assert.Equal("\"2\"", ETag((await Change("second", "\"1\"")).Is(200)));
        foreach (var stale in (string[])["\"1\"", "W/\"2\"", "\"x\"", "2", "\"1\", \"3\""])
        {
            (await Change("third", stale)).IsProblem(412, "precondition_failed");
        }
        Assert.Equal("\"3\"", ETag((await Change("third", "\"1\", \"2\"")).Is(200)));
        Assert.Equal("\"4\"", ETag((await Change("fourth", "*")).Is(200)));
        // Of two who start from one version, one is told.
        var both = await Task.WhenAll(Change("left", "\"4\""), Change("right", "\"4\""));
        Assert.Equal([200, 412], both.Select(got => (int)got.Status).Order());
        (await http.Send(HttpMethod.Delete, path, null, ("If-Match", "\"1\""))).IsProblem(412, "precondition_failed");
        (await http.Send(HttpMethod.Delete, path, null, ("If-Match", "\"5\""))).Is(200);
        (await Change("gone", "*")).IsProblem(404, "not_found");
    }

    [Fact]
    public async Task A_repeated_create_makes_one_work_also_at_the_same_time()
    {
        using var ann = await User("repeats");
        var body = New("once", """{"a":1.0, "b":2}""");
        var all = await Task.WhenAll(Enumerable.Range(0, 16).Select(_ => ann.Post("/myworks", body, ("Idempotency-Key", "k"))));
        var work = Assert.Single((await List(ann)).Works).GetProperty("work_id").GetString();
        Assert.All(all, got => Assert.Equal(work, Id(got.Is(201))));
        Assert.Single(all, got => !got.Headers.Contains("Idempotency-Replayed"));
        // The first answer again, whatever became of the work; to the byte the same payload, or it is another request.
        (await ann.Send(HttpMethod.Patch, $"/myworks/{work}", """{"label":"twice","payload":{}}""")).Is(200);
        Assert.Equal(all[0].Text, (await ann.Post("/myworks", body, ("Idempotency-Key", "k"))).Is(201).Text);
        (await ann.Post("/myworks", New("once", """{"a":1, "b":2}"""), ("Idempotency-Key", "k"))).IsProblem(422, "idempotency_key_reused");
        (await ann.Post("/myworks", New("once", """{"b":2,"a":1.0}"""), ("Idempotency-Key", "k"))).IsProblem(422, "idempotency_key_reused");
        var copies = await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => ann.Post($"/myworks/{work}/duplicate", null, ("Idempotency-Key", "c"))));
        Assert.Single(copies.Select(got => Id(got.Is(201))).Distinct());
        Assert.Equal(2, (await List(ann)).Works.Count);
    }

    [Fact]
    public async Task A_users_works_are_nobody_elses()
    {
        using var ann = await User("mine");
        using var bob = await User("theirs");
        using var stranger = await tenant.Stranger("admin", "member");
        var id = Id((await ann.Post("/myworks", New("secret one"))).Is(201));
        await ann.Post("/myworks", New("secret two"));
        var cursor = (await List(ann, "?limit=1&q=secret")).Next;
        foreach (var other in (HttpClient[])[bob, stranger, http])
        {
            Assert.Empty((await List(other, "?q=secret")).Works);
            (await other.Get($"/myworks?limit=1&q=secret&cursor={cursor}")).IsProblem(422, "unknown_cursor");
            (await other.Get($"/myworks/{id}")).IsProblem(404, "not_found");
            (await other.Send(HttpMethod.Patch, $"/myworks/{id}", """{"label":"x"}""")).IsProblem(404, "not_found");
            (await other.Delete($"/myworks/{id}")).IsProblem(404, "not_found");
            (await other.Post($"/myworks/{id}/duplicate")).IsProblem(404, "not_found");
        }
        Assert.Equal("secret one", Work((await ann.Get($"/myworks/{id}")).Is(200)).GetProperty("label").GetString());
    }

    [Fact]
    public async Task Works_are_listed_by_bucket_and_words_and_in_pages()
    {
        using var ann = await User("lists");
        foreach (var (label, bucket, more) in ((string, string, string)[])
        [
            ("Alpha", "brand", ""","tags":["Logo"]"""), ("Beta", "listings", ""","preview":"a Kitchen" """), ("Gamma", "deal", ""), ("Delta", "deals", ""","tags":["logos","x"]"""),
        ])
        {
            (await ann.Post("/myworks", New(label, "{}", bucket, more))).Is(201);
        }
        Assert.Equal("Delta Gamma Beta Alpha", await Labels(ann));
        Assert.Equal("Delta Gamma", await Labels(ann, "?bucket=transactions"));
        Assert.Equal("Delta Gamma", await Labels(ann, "?bucket=deal&q=&cursor="));
        Assert.Equal("Delta Alpha", await Labels(ann, "?q=LOGO"));
        Assert.Equal("Alpha", await Labels(ann, "?q=logo&bucket=brand_assets"));
        Assert.Equal("Beta", await Labels(ann, "?q=itch+bet"));
        Assert.Equal("", await Labels(ann, "?q=logo+beta"));

        var (works, next) = await List(ann, "?limit=3");
        Assert.Equal(3, works.Count);
        Assert.Equal("Alpha", await Labels(ann, $"?limit=3&cursor={next}"));
        Assert.Equal("Alpha", await Labels(ann, $"?cursor={next}"));
        Assert.Null((await List(ann, "?limit=4")).Next);
        foreach (var other in (string[])[$"?q=a&cursor={next}", $"?bucket=brand&cursor={next}", $"?cursor={next}x", $"?cursor=B{next![1..]}"])
        {
            (await ann.Get($"/myworks{other}")).IsProblem(422, "unknown_cursor");
        }
        (await ann.Get($"/myworks?cursor={next}&cursor={next}")).IsProblem(422);
        // A change brings a work to the front.
        await ann.Send(HttpMethod.Patch, $"/myworks/{works[2].GetProperty("work_id").GetString()}", """{"tags":["new"]}""");
        Assert.Equal("Beta Delta Gamma Alpha", await Labels(ann));
        foreach (var i in Enumerable.Range(0, 23))
        {
            await ann.Post("/myworks", New($"more {i}"));
        }
        Assert.Equal(25, (await List(ann)).Works.Count);
    }

    [Fact]
    public async Task Paging_while_others_write_shows_each_work_of_the_first_pages_moment_once()
    {
        const int Count = 10_000;
        await using var second = await LiveHost.Start(
            settings => settings with { Database = tenant.Host.Database, MasterKeys = _ => MasterKeySource.Read(_ => null, tenant.Host.Data) });
        using var user = await User("pages");
        using var one = Plain(tenant.Host.Url, user.DefaultRequestHeaders.Authorization!.Parameter!);
        using var two = Plain(second.Url, user.DefaultRequestHeaders.Authorization!.Parameter!);
        var commands = tenant.Host.Services.GetRequiredService<CommandHandler>();
        var by = new Origin("user:pages");
        List<WorkKey> works = [.. Enumerable.Range(0, Count).Select(_ => WorkKey.New(TimeProvider.System.GetUtcNow()))];
        await Parallel.ForEachAsync(works.Chunk(250), async (some, ct) => Assert.Null((await commands.Execute(tenant.Org, by, new CreateMany(some), ct)).Refused));

        using var stop = new CancellationTokenSource();
        var (written, random) = (new ConcurrentBag<string>(), new Random(Seeds.One(4711)));
        var (seen, cursor) = (new List<(string Id, string Label, string At)>(), (string?)null);
        var writers = Task.CompletedTask;
        for (var page = 0; page == 0 || cursor is not null; page++)
        {
            var (rows, next) = await List(page % 2 == 0 ? one : two, $"?limit=250{(cursor is null ? "" : $"&cursor={cursor}")}");
            seen.AddRange(rows.Select(w => (w.GetProperty("work_id").GetString()!, w.GetProperty("label").GetString()!, w.GetProperty("updated_at").GetString()!)));
            cursor = next;
            if (page == 0)
            {
                var seeds = Enumerable.Range(0, 8).Select(_ => random.Next()).ToList();
                writers = Task.WhenAll(seeds.Select((seed, nr) => Task.Run(() => Write(nr % 2 == 0 ? one : two, works, new Random(seed), written, stop.Token))));
            }
        }
        await stop.CancelAsync();
        await writers;
        Assert.Equal(Count, seen.Count);
        Assert.Equal(works.Select(w => w.Id).Order(StringComparer.Ordinal), seen.Select(s => s.Id).Order(StringComparer.Ordinal));
        Assert.All(seen, s => Assert.Equal("as it was", s.Label));
        Assert.Equal(seen.Select(s => s.At).OrderDescending(StringComparer.Ordinal), seen.Select(s => s.At));
        Assert.NotEmpty(written);
        var rebuilt = tenant.Host.Services.GetRequiredService<IRows>();
        var live = await Labels(one, "?limit=1000");
        await rebuilt.Rebuild(Works.Model, default);
        Assert.Null(await rebuilt.FindDifference(Works.Model, default));
        Assert.Equal(live, await Labels(two, "?limit=1000"));
    }

    /// <summary>Changes, copies and deletes works until it is told to stop.</summary>
    static async Task Write(HttpClient by, List<WorkKey> works, Random random, ConcurrentBag<string> written, CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
        {
            var path = $"/myworks/{works[random.Next(works.Count)]}";
            var got = random.Next(10) switch
            {
                0 => await by.Delete(path),
                1 => await by.Post($"{path}/duplicate"),
                2 => await by.Post("/myworks", New("new")),
                _ => await by.Send(HttpMethod.Patch, path, $$"""{"label":"changed {{random.Next()}}"}"""),
            };
            Assert.Contains((int)got.Status, (int[])[200, 201, 404]);
            written.Add(path);
        }
    }

    /// <summary>Works of one commit.</summary>
    sealed record CreateMany(IReadOnlyList<WorkKey> Works) : ICommand
    {
        public async ValueTask<Refusal?> Decide(UnitOfWork work)
        {
            foreach (var key in Works)
            {
                var create = new WorkCommand.Create(key, work.By.Actor, WorkBuckets.Listings, new("as it was", null, null, null), Content.Of("{}"), null, work.Now);
                if (await work.Do(Domain.Work.Aggregate, key, create, isNew: true) is { } refused)
                {
                    return refused;
                }
            }
            return null;
        }
    }
}
