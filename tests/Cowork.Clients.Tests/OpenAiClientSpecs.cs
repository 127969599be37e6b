using System.ClientModel;
using System.Diagnostics;
using System.Text.Json;

using OpenAI.Responses;

namespace Cowork.Clients.Tests;

/// <summary>The clients of OpenAI for JavaScript and .NET, as npm and NuGet have them, pointed at this host.</summary>
public sealed class OpenAiClientSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    /// <summary>What each program has before it: the client, and a way to answer.</summary>
    const string Before = """
        // Node.js 18, which Debian 12 has, keeps it in a module, and the client looks for the global of Node.js 20.
        globalThis.File ??= require("node:buffer").File;
        const OpenAI = require("openai").OpenAI;
        const client = new OpenAI({ baseURL: process.env.COWORK + "/api/v1", apiKey: process.env.COWORK_TOKEN, maxRetries: 0 });
        const conversation = process.env.CONVERSATION;
        const answer = value => console.log(JSON.stringify(value));

        """;

    [Fact]
    public async Task Responses_are_created_with_a_stream()
    {
        var told = await Run("""
            const stream = await client.responses.create({ model: "offline", conversation, input: "/say hello there", stream: true });
            const types = [], numbers = [], items = [];
            let text = "", last, begun;
            for await (const event of stream) {
                types.push(event.type); numbers.push(event.sequence_number);
                begun ??= event.response;
                if (event.type === "response.output_item.added") items.push([event.item.id, event.output_index]);
                if (event.type === "response.output_text.delta") text += event.delta;
                last = event;
            }
            answer({ types: [...new Set(types)], dense: numbers.every((n, i) => n === i), text, status: last.response.status, last: last.response.output_text ?? last.response.output[0].content[0].text,
                begun: begun.output.length, items, kept: last.response.output.map(item => item.id), seconds: last.response.created_at - Date.now() / 1000 });
            """);
        Assert.Equal("response.created", told.GetProperty("types")[0].GetString());
        Assert.Equal("response.completed", told.GetProperty("types").EnumerateArray().Last().GetString());
        Assert.Equal(
            (true, "hello there", "completed", "hello there"),
            (told.GetProperty("dense").GetBoolean(), Text(told, "text"), Text(told, "status"), Text(told, "last")));
        // From version 7 on a client fails on an item without an id, and on one that is announced where one is.
        var id = Text(told, "kept")[2..^2];
        Assert.Equal(("0", $"[[\"{id}\",0]]"), (Text(told, "begun"), Text(told, "items")));
        Assert.StartsWith("msg_", id, StringComparison.Ordinal);
        Assert.InRange(told.GetProperty("seconds").GetDouble(), -60, 60);
    }

    [Fact]
    public async Task Uploaded_files_are_listed_to_their_end_page_by_page()
    {
        var told = await Run("""
            const made = [];
            for (let i = 0; i < 5; i++) made.push((await client.files.create({ file: await require("openai").toFile(Buffer.from("text " + i), i + ".txt"), purpose: "assistants" })).id);
            const listed = [];
            for await (const file of client.files.list({ limit: 2 })) { if (listed.push(file.id) > 1000) break; }
            answer({ inOrder: JSON.stringify(listed.filter(id => made.includes(id))) === JSON.stringify(made.reverse()), once: new Set(listed).size === listed.length });
            """);
        Assert.Equal((true, true), (told.GetProperty("inOrder").GetBoolean(), told.GetProperty("once").GetBoolean()));
    }

    [Fact]
    public async Task The_helper_that_gathers_a_stream_ends_with_the_reply()
    {
        var told = await Run("""
            const deltas = [];
            const runner = client.responses.stream({ model: "offline", conversation, input: "/tool list_files {}\n/say all seen" })
                .on("response.output_text.delta", event => deltas.push([event.delta, event.snapshot]));
            const final = await runner.finalResponse();
            answer({ text: final.output_text, status: final.status, deltas: deltas.map(d => d[0]).join(""), snapshot: deltas.at(-1)[1] });
            """);
        Assert.Equal(("all seen", "completed"), (Text(told, "text"), Text(told, "status")));
        Assert.EndsWith("all seen", Text(told, "deltas"), StringComparison.Ordinal);
        Assert.Equal("all seen", Text(told, "snapshot"));
    }

    [Fact]
    public async Task A_client_that_leaves_stops_nothing_and_follows_again_where_it_was()
    {
        var told = await Run("""
            const stream = await client.responses.create({ model: "offline", conversation, input: "/sleep 1500\n/say still here", stream: true });
            let id, seen;
            for await (const event of stream) {
                id ??= event.response.id; seen = event.sequence_number;
                if (event.type === "response.in_progress") break;
            }
            const rest = [];
            for await (const event of await client.responses.retrieve(id, { stream: true, starting_after: seen })) rest.push(event);
            const whole = await client.responses.retrieve(id);
            answer({ first: rest[0].sequence_number - seen, end: rest.at(-1).type, text: whole.output.at(-1).content[0].text, status: whole.status });
            """);
        Assert.Equal((1, "response.completed", "still here", "completed"), (told.GetProperty("first").GetInt32(), Text(told, "end"), Text(told, "text"), Text(told, "status")));
    }

    [Fact]
    public async Task A_response_comes_as_one_object_is_cancelled_and_a_refusal_is_an_error_of_the_client()
    {
        var told = await Run("""
            const one = await client.responses.create({ model: "offline", conversation, input: "/say one" });
            const stream = await client.responses.create({ model: "offline", conversation, input: "/sleep 60000", stream: true });
            let last, id;
            for await (const event of stream) {
                id ??= event.response?.id; last = event;
                if (event.type === "response.in_progress") await client.responses.cancel(id);
            }
            let refused;
            try { await client.responses.create({ model: "offline", conversation: "conv_nowhere", input: "x" }); } catch (e) { refused = e; }
            answer({ text: one.output_text, end: last.type, how: last.response.status, status: refused.status, kind: refused.constructor.name,
                said: [refused.message, refused.code, refused.type] });
            """);
        // The client has no word for what is cancelled, and would fail on ours.
        Assert.Equal(
            ("one", "response.incomplete", "cancelled", "404", "NotFoundError"),
            (Text(told, "text"), Text(told, "end"), Text(told, "how"), Text(told, "status"), Text(told, "kind")));
        Assert.Equal("""["404 There is no such session.","not_found","invalid_request_error"]""", Text(told, "said"));
    }

    [Fact]
    public async Task The_client_for_DotNet_reads_a_response_a_stream_and_a_refusal()
    {
        var conversation = (await tenant.Http.NewSession()).Replace("sess_", "conv_", StringComparison.Ordinal);
        var client = new ResponsesClient(
            new ApiKeyCredential(await tenant.Host.Token(tenant.Org, "member")), new ResponsesClientOptions { Endpoint = new($"{tenant.Host.Url}/api/v1") });
        ResponseResult one = await client.CreateResponseAsync(Asking(conversation, "/say one"));
        Assert.Equal(("one", ResponseStatus.Completed), (one.GetOutputText(), one.Status));
        Assert.InRange(one.CreatedAt, TimeProvider.System.GetUtcNow().AddMinutes(-1), TimeProvider.System.GetUtcNow().AddMinutes(1));

        var streamed = Asking(conversation, "/tool list_files {}\n/say all seen");
        streamed.StreamingEnabled = true;
        var (text, last) = ("", (ResponseResult?)null);
        await foreach (var update in await client.CreateResponseStreamingAsync(streamed))
        {
            text += update is StreamingResponseOutputTextDeltaUpdate delta ? delta.Delta : "";
            last = update is StreamingResponseCompletedUpdate completed ? completed.Response : last;
        }
        Assert.Equal(("all seen", "all seen"), (text, last?.GetOutputText()));
        ResponseResult again = await client.GetResponseAsync(last!.Id);
        Assert.Equal(("all seen", last.Usage.TotalTokenCount), (again.GetOutputText(), again.Usage.TotalTokenCount));

        var refused = await Assert.ThrowsAsync<ClientResultException>(() => client.CreateResponseAsync(Asking("conv_nowhere", "x")));
        Assert.Equal(404, refused.Status);
        Assert.Contains("There is no such session.", refused.Message, StringComparison.Ordinal);
    }

    static CreateResponseOptions Asking(string conversation, string input)
    {
        var options = new CreateResponseOptions { Model = "offline", ConversationOptions = new(conversation) };
        options.InputItems.Add(ResponseItem.CreateUserMessageItem(input));
        return options;
    }

    static string Text(JsonElement of, string member) => of.GetProperty(member).ToString();

    /// <summary>Runs a program with a conversation of its own. Answers what it has printed.</summary>
    async Task<JsonElement> Run(string program)
    {
        var file = Path.Combine(Directory.CreateTempSubdirectory("cowork-openai-").FullName, "program.js");
        await File.WriteAllTextAsync(file, $"{Before}(async () => {{\n{program}\n}})().catch(e => {{ console.error(e); process.exit(1); }});\n");
        var start = new ProcessStartInfo("node", [file]) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["NODE_PATH"] = await Generators.Modules();
        start.Environment["COWORK"] = tenant.Host.Url;
        start.Environment["COWORK_TOKEN"] = await tenant.Host.Token(tenant.Org, "member");
        start.Environment["CONVERSATION"] = (await tenant.Http.NewSession()).Replace("sess_", "conv_", StringComparison.Ordinal);
        using var process = Process.Start(start)!;
        var errors = process.StandardError.ReadToEndAsync();
        var output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        Directory.Delete(Path.GetDirectoryName(file)!, recursive: true);
        Assert.True(process.ExitCode == 0, await errors);
        return JsonElement.Parse(output);
    }
}
