using System.Text.Json;

using Cowork.Application;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Operations;

/// <param name="InputSchema">JSON Schema.</param>
public sealed record ToolShape(string Name, string Description, JsonElement InputSchema);

public sealed record ToolList(IReadOnlyList<ToolShape> Tools);

static class ToolEndpoints
{
    public static void MapTools(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/tools", List).WithName("listTools").WithTags("Operations")
            .WithSummary("What models may call, with the schemas of the arguments")
            .Produces<ToolList>().Refuses();

    static JsonResult<ToolList> List(Toolbox toolbox) =>
        JsonResult.Of(200, new ToolList([.. toolbox.Tools.Select(t => new ToolShape(t.Name, t.Description, t.Schema))]), OperationsJson.Answers.ToolList);
}
