using System.Text.Json;

using Cowork.Application;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Operations;

/// <param name="InputSchema">JSON Schema.</param>
public sealed record ToolShape(string Name, string Description, JsonElement InputSchema);

/// <param name="Pattern">With what differs in angle brackets.</param>
public sealed record ToolPattern(string Pattern, string Description);

/// <param name="Tools">What every run may call.</param>
/// <param name="Patterns">Names of tools that runs may call besides, of the sources that their connections lead to.</param>
public sealed record ToolList(IReadOnlyList<ToolShape> Tools, IReadOnlyList<ToolPattern> Patterns);

static class ToolEndpoints
{
    public static void MapTools(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/tools", List).WithName("listTools").WithTags("Operations")
            .WithSummary("What models may call, with the schemas of the arguments")
            .Produces<ToolList>().Refuses();

    static JsonResult<ToolList> List(Toolbox toolbox) => JsonResult.Of(
        200,
        new ToolList(
            [.. toolbox.Tools.Select(t => new ToolShape(t.Name, t.Description, t.Schema))],
            [
                new(
                    OutsideToolNames.Pattern,
                    $"A tool of a connected MCP server, with the server's input schema: at most {OutsideToolNames.CharsMax} letters, digits, _ and -. "
                    + "The event tools_offered of a run has those that its model was offered, and why others were left out."),
            ]),
        OperationsJson.Answers.ToolList);
}
