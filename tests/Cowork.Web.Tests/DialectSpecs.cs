using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;

using Cowork.Web.Http;

using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace Cowork.Web.Tests;

/// <summary>Each contract has JSON names and a form of errors of its own.</summary>
public sealed partial class DialectSpecs
{
    static readonly Dialect Snake = new("/", HttpJson.Default, ProblemDetails.Form, _ => { });

    static readonly Dialect Camel = new(
        "/camel", CamelJson.Default,
        ErrorForm.Of("Envelope", "application/json", CamelJson.Default.Envelope, (error, _) => new(false, error.Code.ToUpperInvariant(), error.Detail)), _ => { });

    [Theory]
    [InlineData("/sessions/nobody", null, "application/problem+json", """{"type":"urn:cowork:problem:not_found",""")]
    [InlineData("/", null, "application/problem+json", """{"type":"urn:cowork:problem:not_found",""")]
    [InlineData("/camels", null, "application/problem+json", """{"type":"urn:cowork:problem:not_found",""")]
    [InlineData("/camel", null, "application/json", """{"isOk":false,"errorCode":"NOT_FOUND","message":"There is no such camel."}""")]
    [InlineData("/camel/no/such/place", null, "application/json", """{"isOk":false,"errorCode":"NOT_FOUND",""")]
    [InlineData("/elsewhere", "/camel", "application/json", """{"isOk":false,"errorCode":"NOT_FOUND",""")] // the endpoint's contract wins over the path
    public async Task An_error_has_the_form_of_the_contract_that_its_address_belongs_to(string path, string? endpointOf, string contentType, string begins)
    {
        var http = new DefaultHttpContext
        {
            RequestServices = new ServiceCollection().AddSingleton(new Dialects([Snake, Camel])).BuildServiceProvider(),
            Request = { Path = path },
            Response = { Body = new MemoryStream() },
        };
        if (endpointOf is not null)
        {
            http.SetEndpoint(new(null, new(Camel), "camel"));
        }
        await ErrorResult.NotFound("camel").ExecuteAsync(http);
        var body = Encoding.UTF8.GetString(((MemoryStream)http.Response.Body).ToArray());
        Assert.Equal((404, contentType, (long?)body.Length), (http.Response.StatusCode, http.Response.ContentType, http.Response.ContentLength));
        Assert.StartsWith(begins, body, StringComparison.Ordinal);
    }

    [Fact]
    public void A_contracts_shapes_keep_their_names_among_those_of_other_contracts()
    {
        var all = new JsonSerializerOptions { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower, TypeInfoResolverChain = { Camel.Shapes, Snake.Shapes } };
        Assert.Equal(["isOk", "errorCode", "message"], all.GetTypeInfo(typeof(Envelope)).Properties.Select(p => p.Name));
        Assert.Contains("trace_id", all.GetTypeInfo(typeof(ProblemDetails)).Properties.Select(p => p.Name));
    }

    public sealed record Envelope(bool IsOk, string ErrorCode, string Message);

    [JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
    [JsonSerializable(typeof(Envelope))]
    sealed partial class CamelJson : JsonSerializerContext;
}
