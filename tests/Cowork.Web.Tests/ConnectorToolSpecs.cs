using System.Collections.Immutable;
using System.Text.Json;

using Cowork.Connectors;

namespace Cowork.Web.Tests;

/// <summary>The tools of a program that speaks MCP, in runs over HTTP.</summary>
public sealed class ConnectorToolSpecs
{
    const string Connections = "/api/v1/connectors/connections";

    const string Server = """
        import json, sys
        for line in sys.stdin:
            message = json.loads(line)
            method, result = message.get("method"), None
            if method == "initialize":
                result = {"protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": {"name": "orders", "version": "1"}}
            elif method == "tools/list":
                result = {"tools": [
                    {"name": "find_order", "description": "Finds an order.", "annotations": {"readOnlyHint": True},
                     "inputSchema": {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]}},
                    {"name": "add_order", "description": "Adds an order.", "inputSchema": {"type": "object"}},
                    {"name": "broken", "inputSchema": {"type": "object", "properties": "none"}}]}
            elif method == "tools/call":
                result = {"content": [{"type": "text", "text": "%s %s" % (message["params"]["name"], json.dumps(message["params"]["arguments"]))}]}
            if "id" in message:
                answer = {"result": result} if result is not None else {"error": {"code": -32601, "message": "no such method"}}
                print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}), flush=True)
        """;

    [Fact]
    public async Task The_tools_of_a_connected_server_are_called_by_their_names_and_shown_in_the_feed()
    {
        await using var host = await LiveHost.Start(settings => settings with
        {
            McpCommands = ImmutableDictionary<string, McpCommand>.Empty.Add("orders", new("python3", ["-c", Server], ImmutableDictionary<string, string>.Empty, [])),
        });
        var http = host.Http;
        var connection = (await http.Post(Connections, """{"spec_id":"mcp","name":"orders","credentials":{"command":"orders"}}""")).Is(201);
        Assert.Equal(("connected", ""), (connection["status"], connection["status_detail"]));
        var session = await http.NewSession();
        var read = (await http.Turn(session, """/tool mcp__orders__find_order {"number": 7}""")).Is(200);
        Assert.Equal("completed", read["status"]);
        Assert.Contains("""find_order {"number": 7}""", read["reply"]);

        var asked = (await http.Turn(session, "/tool mcp__orders__add_order {}")).Is(200);
        Assert.Equal("approval_required", asked["status"]);
        var approval = (await http.Get($"/approvals/{asked.Json.GetProperty("pending_approval_ids")[0]}")).Is(200);
        Assert.Equal("mcp__orders__add_order", approval["tool_name"]);
        (await http.Post($"/approvals/{approval["approval_id"]}/decision", """{"approved":true}""")).Is(200);
        Assert.Contains("add_order {}", (await http.Until($"/runs/{asked["run_id"]}", run => run["status"] == "completed"))["reply"]);

        var offered = (await http.Get($"/sessions/{session}/events?since_id=0&limit=1000")).Is(200).Json.GetProperty("events").EnumerateArray()
            .First(e => e.GetProperty("type").GetString() == "tools_offered").GetProperty("payload");
        Assert.Equal(2, offered.GetProperty("count").GetInt32());
        Assert.Equal(
            ["mcp__orders__add_order", "mcp__orders__find_order"],
            JsonElement.Parse(offered.GetProperty("tools").GetString()!).EnumerateArray().Select(tool => tool.GetProperty("name").GetString()));
        Assert.Equal("Its input schema is malformed at properties.", offered.GetProperty("left_out")[0].GetProperty("reason").GetString());

        // There is no second way to call them.
        var query = JsonSerializer.Serialize(new { action = "query", connection_id = connection["id"], query = """{"tool":"find_order"}""" });
        Assert.Contains("are tools of their own, mcp__<connection>__<tool>", (await http.Turn(session, $"/tool query_connector {query}")).Is(200)["reply"]);
        var schema = JsonSerializer.Serialize(new { action = "schema", connection_id = connection["id"] });
        Assert.Contains("find_order | read | Finds an order.", (await http.Turn(session, $"/tool query_connector {schema}")).Is(200)["reply"]);

        // A skill that names one tool leaves the run no other.
        var skill = (await http.Post(
            "/api/v1/skills", """{"name":"order-reader","description":"Reads orders.","tools":["mcp__orders__find_order"]}""")).Is(201)["id"];
        var project = (await http.Post("/api/v1/projects", $$"""{"name":"Orders","skill_ids":["{{skill}}"]}""")).Is(201)["id"];
        var conversation = (await http.Post("/api/v1/conversations", $$"""{"project_id":"{{project}}"}""")).Is(201)["id"];
        var narrowed = (await http.Turn(conversation, "/tool mcp__orders__add_order {}")).Is(200);
        Assert.Equal("completed", narrowed["status"]);
        Assert.Contains("skill_tools", (await http.Get($"/runs/{narrowed["run_id"]}/trace")).Is(200).Text);
    }
}
