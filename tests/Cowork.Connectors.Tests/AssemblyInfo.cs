using Cowork.Testing;

using Xunit.v3;

[assembly: TestPipelineStartup(typeof(TestPostgresPipeline))]
